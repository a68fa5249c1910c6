//! What can be found.

sentrail_plugin::rules! {
    SCOPE "excessive-scope" Medium ["T1098.003", "AML.T0091.000"]
        "A token or tool of an agent has rights over everything"
        "The scope, role or capability is an administrator's or a wildcard, and the record names no one who approved it. Confirm who asked for it; issue one that fits the task. OWASP ASI03; LLM06."
    ESCALATED "scope-escalated" High ["T1550.001", "AML.T0091.000"]
        "A token or a chain of tools may do more than it was given"
        "The rights in use go beyond those that were issued, asked for or needed by the tool that began. Revoke the token and find out where it was exchanged. OWASP ASI03."
    MISMATCH "token-for-another" High ["T1550.001", "AML.T0091.000"]
        "A token was used by, at or from another than it was issued for"
        "Audience, issuer, subject, client or address of the token is not that of the call. Revoke it, and make the server check what it accepts. OWASP ASI03."
    FAILED "failed-check-accepted" High ["T1550.001", "T1556"]
        "A check of an authorization failed or was left out"
        "Signature, audience, state, consent or binding did not hold or was not there. If the call went on, treat what it did as unauthorized. OWASP ASI03."
    FLOW "weak-oauth-flow" Medium ["T1528", "T1557"]
        "An authorization took a weak or downgraded way"
        "Without a proof key, with the token in the address, with no signature or over plain HTTP, whoever listens can take the token. Make the server refuse it. OWASP ASI03."
    REDIRECT "foreign-redirect" High ["T1528", "AML.T0052"]
        "An authorization leads to an address that is not the client's or the issuer's"
        "Codes and tokens that are sent there are somebody else's. Refuse the client, and revoke what was granted to it. OWASP ASI03."
    OPEN "server-without-authentication" Medium ["T1190", "T1133"]
        "A server that asks for no token was reached from elsewhere"
        "Whoever finds it can call its tools. Bind it to the machine, or put it behind a gateway that asks. OWASP ASI03."
    STALE "stale-token" Medium ["T1550.001", "T1098"]
        "A token outlives what it was issued for"
        "It was used after its session, consent or account ended, or was issued for far longer than a task takes. Revoke it and shorten its life. OWASP ASI03."
    SHARED "token-shared" High ["T1550.001", "AML.T0091.000"]
        "One token was used from several places or by several identities within minutes"
        "Tokens do not travel: it was stolen, or is passed on from server to server. Revoke it, and look at what each of them did. OWASP ASI03."
}
