//! What can be found.

sentrail_plugin::rules! {
    CONTACT "indicator-contact" Medium ["T1071.001", "T1090"]
        "Traffic with an address that a feed names"
        "A call came from, or went to, an address, host or URL that a threat feed warns of. Read in the message what the feed says of it, and how \
         sure it is; if it holds, block the address and look at everything that it did here."
    KEY "indicator-key" High ["AML.T0055", "T1078.004"]
        "A key that a feed names is in use"
        "A feed of leaked credentials holds the key that signed this call. Revoke the key, then find out from where and for what it was \
         used since it leaked."
    ARTIFACT "indicator-artifact" High ["AML.T0010.003", "AML.T0011.000", "T1204.002"]
        "A model, image or file that a feed names was touched"
        "A feed names the digest of this artifact as malicious. Take it out of the registry, and find every machine that loaded it \
         (OWASP LLM03, supply chain)."
    MENTION "indicator-mention" Low ["AML.T0011.003", "T1204.001"]
        "A prompt, an answer or a tool call names what a feed warns of"
        "A URL, host, address or digest of a feed stands in text that goes to or comes from a model or a tool. Where a model wrote it, ask \
         what made it; where a tool was told it, find out whether it was fetched."
}
