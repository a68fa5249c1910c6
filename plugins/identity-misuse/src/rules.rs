//! What can be found.

sentrail_plugin::rules! {
    GUESSING "login-failure-burst" Medium ["T1110.001"]
        "Wrong passwords for one account in a burst"
        "Somebody or something tries passwords of this account. A script with an old password looks the same: ask the owner, and block the source if it is not theirs."
    GUESSED "login-after-failures" High ["T1110", "T1078.004"]
        "An account was opened after many wrong passwords"
        "After a run of wrong passwords one was right, from where the account had not been. Ask the owner; otherwise end its sessions, reset password and second factor, and look at what it did since."
    FATIGUE "mfa-fatigue" Medium ["T1621"]
        "Second factors are refused again and again"
        "Whoever asks has the right password. The owner refuses, or does not answer, until they tire of it: change the password now and tell them to go on refusing."
    FATIGUE_SUCCESS "mfa-fatigue-success" High ["T1621", "T1078.004"]
        "A second factor was accepted after being refused several times"
        "This is how push bombing ends. Ask the owner whether the last one was theirs; otherwise end all sessions, reset password and factors, and use number matching."
    TRAVEL "impossible-travel" High ["T1078.004"]
        "An account is used in a second country too soon"
        "The account signed in in one country and then in another that it never was in, with no time to travel. Ask the owner; a new VPN exit looks the same. Otherwise end its sessions and reset it."
    ADMIN_PLACE "admin-new-place" Medium ["T1078.004"]
        "An administrator signs in from a network never used before"
        "An account that can change what others may do comes from somewhere new. Confirm it with its owner by another way than mail or chat."
    RISKY "provider-calls-it-risky" Medium ["T1078.004"]
        "The identity provider or the owner calls a sign-in risky"
        "The provider itself, or the person concerned, reported the activity, and it went through. Read its reasons, and end the session until the owner has confirmed it."
    FACTOR_REMOVED "second-factor-removed" Medium ["T1556.006"]
        "A second factor was removed or reset"
        "The account can be entered with less, or a new factor can be enrolled by whoever has the password. Ask the owner and the help desk who asked for it."
    FACTOR_ADDED "second-factor-from-new-place" High ["T1556.006", "T1098.005"]
        "A second factor was enrolled right after a sign-in from a new network"
        "Whoever took an account over makes it theirs with a factor of their own. Ask the owner; otherwise remove the factor, end sessions and reset the password."
    POLICY "sign-in-policy-weakened" Medium ["T1556.009", "T1685"]
        "A rule that guards sign-ins was removed, switched off or changed"
        "Conditional access, multi-factor or single sign-on asks for less than before, possibly of everybody. Confirm the change; otherwise restore the rule and look at who signed in since."
    ADMIN "admin-role-granted" Medium ["T1098.003"]
        "An administrator's role was granted"
        "One more identity can change what others may do. Confirm it with whoever granted it; otherwise take the role back and look at what was done with it."
    CREDENTIAL "app-credential-added" Medium ["T1098.001"]
        "A token or secret was added for an application"
        "It opens the tenant without a person or a second factor. Confirm who needs it; otherwise delete it and look at its use."
    DELEGATION "domain-delegation-granted" High ["T1098.003", "T1550.001"]
        "An application may act as every user of the domain"
        "Domain-wide delegation reads all mail and files without any user's consent. Nobody needs this by surprise: confirm it or withdraw it at once."
    CONSENT "oauth-consent" Medium ["T1528", "T1550.001"]
        "An application was given far-reaching rights by consent"
        "The application can read or change mail, files or the directory from now on, and no password change ends that. Look at its publisher and who consented; otherwise remove the grant and revoke its tokens."
    FEDERATION "federation-changed" High ["T1484.002"]
        "Another issuer of identities is trusted"
        "Tokens of a new or changed issuer open any account of the domain. Confirm it with whoever runs the directory; otherwise restore it and revoke sessions."
}
