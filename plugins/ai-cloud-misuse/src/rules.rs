//! What can be found.

sentrail_plugin::rules! {
    EXPOSED "ai-endpoint-exposed" High ["T1578.005", "AML.T0040"]
        "A model, notebook or vector store was opened to everybody"
        "Anyone on the internet can reach it, or call it without being known. Confirm that it is meant to be public; otherwise close it and read who called it since."
    LOGGING "ai-logging-removed" High ["T1685.002"]
        "Logs of model calls were switched off or cut"
        "What models are asked and answer is no longer recorded. Restore the log, and treat the calls of the actor around this time as unseen."
    GUARDRAIL "ai-guardrail-weakened" High ["T1685", "AML.T0054"]
        "A content filter or guardrail was weakened or deleted"
        "Models answer what they refused before (OWASP LLM01). Confirm the change with whoever answers for the policy; otherwise restore it and review the calls since."
    KEYS_LISTED "ai-keys-listed" Medium ["T1552", "AML.T0055"]
        "Keys of AI services were read by an identity that never did"
        "The keys call the service without any identity, and leave no name in its logs. Ask the actor; otherwise regenerate the keys of these services."
    KEY_MADE "ai-key-made" Medium ["T1098.001", "AML.T0012"]
        "A long-lived key for an AI service was made or replaced"
        "The key calls models on the account's bill until somebody deletes it. Confirm who needs it; otherwise delete it and look for calls with it."
    REGION "accelerators-in-new-region" High ["T1535", "T1496.001"]
        "Accelerators are started in regions where the account does nothing else"
        "Stolen accounts are drained where nobody looks. Stop the machines, look for others in every region, forbid regions that are not in use, and find out whose credentials were used."
    BURST "accelerator-burst" High ["T1496.001", "T1578.002"]
        "Many accelerators were started within an hour"
        "This costs thousands a day. Confirm that somebody ordered the capacity; otherwise stop it, set quotas, and find out whose credentials were used."
    CAPACITY "model-capacity-bought" Medium ["AML.T0034", "T1496.004"]
        "Model capacity was reserved"
        "Reserved throughput costs by the hour, used or not, and may be bound for months. Confirm the order; otherwise release it at once."
    QUOTA "ai-quota-raised" Medium ["T1496.001", "T1496.004"]
        "A higher quota for models or accelerators was asked for"
        "More than the account needs is asked for: with stolen credentials this comes before the bill. Confirm it with whoever plans capacity."
    EXPORTED "model-exported" Medium ["AML.T0025", "AML.T0048.004"]
        "A model was exported or shared with another account"
        "Its weights leave the place where access to them is watched. Confirm the destination; otherwise withdraw the share and treat the model as copied."
    STARTUP "notebook-startup-code" Low ["T1546", "T1098.003"]
        "Code was set to run when notebooks start"
        "It runs with the notebook's role, for whoever opens it next. Outside of platform work, read the script and compare the role with the actor's."
    TRUST "workload-trust-added" Medium ["T1484.002"]
        "Workloads of another issuer may act in the account"
        "Tokens of the named issuer now open this identity without any secret. Confirm the issuer and the subject; otherwise remove the trust and look for its sessions."
}
