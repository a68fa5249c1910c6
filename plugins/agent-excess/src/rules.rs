//! What can be found.

sentrail_plugin::rules! {
    NEW_SERVER "new-server-of-agent" Low ["AML.T0010.005", "T1199"]
        "A known agent began to use an MCP server that it never used"
        "Somebody connected it, or the agent was made to. Confirm that the server was approved, and look at its tools' descriptions. OWASP ASI04."
    NEW_TOOL "new-tool-of-agent" Informational ["AML.T0053"]
        "A known agent called a tool that it never called"
        "Agents settle on their tools within days. Worth knowing when something else happens too. OWASP ASI02."
    SHADOWED "tool-of-two-servers" Medium ["AML.T0110", "AML.T0074"]
        "An agent came to know one tool's name from a second server"
        "The model tells tools apart by their names: calls that were meant for one server go to the other. Confirm the second server, and give the tools names of their own. OWASP ASI04."
    BURST "burst-of-tools" Medium ["AML.T0053", "AML.T0084.001"]
        "An agent called many different tools within minutes"
        "A task takes a few tools. Whoever tries out what an agent can do takes all. Find out what the agent was told. OWASP ASI02; LLM06."
    LOOP "call-repeated" Medium ["AML.T0034.002", "AML.T0029"]
        "An agent made one and the same call again and again, or ran in circles"
        "It costs money and the service behind the tool its breath. Stop the agent, and find out what it waits for. OWASP ASI08; LLM10."
    FLOOD "calls-at-a-rate" Medium ["AML.T0034", "T1499.003"]
        "Calls came at a rate that no task needs"
        "An agent that runs away, or one that is used to harvest data or to press a service. Limit it at the gateway. OWASP LLM10."
    DESTROYED "destructive-call" Medium ["AML.T0101", "T1485"]
        "An agent's tool was told to delete, drop or overwrite as a whole"
        "What is deleted by a wrong step is gone as well. Confirm that a person asked for it, and check the backups. OWASP ASI02; LLM06."
    RAMPAGE "destructive-burst" High ["AML.T0101", "T1485"]
        "An agent made destructive calls one after the other"
        "Stop the agent, take away its rights to delete, and restore what is gone. OWASP ASI02, ASI10."
    ABUSED "agent-abuses-agent" Medium ["AML.T0053", "AML.T0108"]
        "An agent acted through or as another agent in a way that its own rights do not allow"
        "The sender is not who it says, is not allowed to ask, or asks for more than it may do itself. Look at what the sender read before. OWASP ASI03, ASI07, ASI10."
    PAID "payment-without-consent" High ["AML.T0048.000", "T1657"]
        "An agent moved money without a person's consent, or in a way that hides where it goes"
        "Stop the payment if it can be stopped. Find out what made the agent pay, and require a person's word above a limit. OWASP ASI09; LLM06."
    FATIGUE "consent-fatigue" Medium ["T1621"]
        "A person was asked again and again, or said yes faster than one can read"
        "Somebody counts on a click. Treat the consents of that time as not given, and ask for fewer. OWASP ASI09."
}
