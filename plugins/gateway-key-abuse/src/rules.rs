//! What can be found.

sentrail_plugin::rules! {
    NEW_NETWORK "key-new-network" Medium ["AML.T0012", "AML.T0055"]
        "A gateway key is used from a new network"
        "The key has long been used from few networks and now comes from another. Ask its owner whether something moved; otherwise replace the key and read what was asked with it."
    TRAVEL "key-impossible-travel" High ["AML.T0012", "AML.T0055", "T1078.004"]
        "A gateway key is used in a second country too soon"
        "The key was used in one country and then in another that it was never used in, with no time to travel: two people hold it. Replace it, find where it leaked, and read what was asked from the new country. A new exit of a VPN or a cloud region looks the same."
    SHARED "key-shared" High ["AML.T0012", "AML.T0055"]
        "A gateway key is used by many at once"
        "Within minutes the key came from many networks or for many users: it was passed around or leaked. Replace it, give each user a key, and look for the place where it was published."
    HIJACKED "key-hijacked" High ["AML.T0012", "AML.T0034", "T1496.004"]
        "A gateway key calls models it never called, from where it never was"
        "A settled key suddenly tries models that its owner does not use, from a network that is new to it: this is how stolen model access is tested and sold (LLM-jacking; OWASP LLM10). Revoke the key now, then read its calls since the new network appeared."
    FAILURES "key-failure-burst" Medium ["AML.T0040"]
        "Calls with a gateway key fail in a burst"
        "Many refused or broken calls in minutes: a key that was revoked and is still tried, a script that probes, or an application gone wrong. Look at the reasons, and block the source if nobody knows it."
    SPEND "key-spend-burst" High ["AML.T0034", "T1496.004"]
        "A gateway key spends far more than it used to"
        "In minutes the key cost many times what it usually does. Set a budget on it now, then find out whether its owner knows; stolen keys are sold and run dry within hours."
    MODELS "key-model-enumeration" Medium ["AML.T0040"]
        "A gateway key tries many models"
        "Applications use one or two models; trying many is how somebody learns what a found key can do. Ask the key's owner."
    EVASION "policy-evasion" Medium ["AML.T0054", "AML.T0065", "AML.T0015"]
        "A request passes after rephrasings of it were blocked"
        "A filter blocked several versions of one request, and a version that resembles them went through: somebody worked around the policy (OWASP LLM01). Read the answer that was given, and teach the filter the wording that passed."
}
