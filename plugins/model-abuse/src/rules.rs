//! What can be found.

sentrail_plugin::rules! {
    EXTRACTION "model-extraction" High ["AML.T0024.002", "AML.T0005.001", "AML.T0040"]
        "A model is queried systematically, as if to copy it"
        "One key asks many different questions of one form, far more than it ever did: so a model is distilled into another (OWASP LLM10). Ask the owner for the purpose (a labelling or evaluation job looks the same); otherwise limit the key's rate and review what was collected."
    SWEEP "logit-bias-sweep" High ["AML.T0024.002", "AML.T0024.001"]
        "Token biases are swept while probabilities are read"
        "Request after request shifts another token and asks for log-probabilities: the published way to compute a model's last layer and its hidden probabilities. Applications use one bias. Stop the key, and offer log-probabilities and logit_bias to no one who does not need both."
    MEMBERSHIP "membership-probing" Medium ["AML.T0024.000"]
        "Nearly the same prompt is sent again and again for its probabilities"
        "Small changes of one text, each with log-probabilities, show whether a model was trained on it (OWASP LLM02). Ask the key's owner what is measured; otherwise withdraw log-probabilities from the key and look at the text that was probed."
    TOKENS "token-flood" Medium ["AML.T0034.000", "AML.T0029"]
        "A key uses far more tokens than it usually does"
        "This hour's tokens are far outside of what the key uses in an hour: a runaway agent, or somebody who burns money or capacity (denial of wallet; OWASP LLM10). Find out which; set a token budget on the key."
    HEAVY "heavy-requests" Medium ["AML.T0034.001", "AML.T0029"]
        "Requests are many times as large as a key's usually are"
        "Several requests in minutes each took many times the tokens that this key's requests take: inputs made to be expensive, or an agent in a loop (OWASP LLM10). Read one of them, and bound input and output for the key."
    COST "cost-limit" High ["AML.T0034", "T1496.004"]
        "A key spent more in an hour than any key should"
        "Whatever its past, the key went over the hourly limit of this installation. Stop it or confirm the job with its owner, and set the limit at the gateway too."
}
