//! What can be found.

sentrail_plugin::rules! {
    MODEL "new-model" Informational ["AML.T0040"]
        "A model is called that was not in use before"
        "For the inventory: a model answered that nobody called while the detector was learning. Check that its use was decided on, and by whom \
         (OWASP LLM03, supply chain)."
    PROVIDER "new-provider" Low ["AML.T0040", "T1567"]
        "Prompts go to a provider of models that was not in use before"
        "What is asked leaves for another company, or another place to run models, than before. Check that there is a contract with it and \
         that its use was decided on."
    KEY "new-gateway-key" Informational ["AML.T0012"]
        "A gateway key is used for the first time"
        "For the inventory: who it belongs to, and what for, should be known. A key that nobody asked for is a way in."
    AGENT "new-agent" Informational ["AML.T0103"]
        "An agent acts that was not there before"
        "For the inventory: an agent acts with the rights that it was given. Find out who runs it, and what it may do."
    SERVER "new-mcp-server" Low ["AML.T0010.005", "AML.T0104"]
        "Agents use an MCP server that was not there before"
        "An MCP server sees what agents send it and tells them what to do (OWASP Agentic, tool misuse). Find out who put it there, pin its version, and \
         read what its tools say of themselves."
    COLLECTION "new-collection" Informational ["AML.T0085.000"]
        "A vector collection appears"
        "For the inventory: copies of company data come to lie in it. Find out from where, and who may search it."
    CLIENT "new-ai-client" Informational ["AML.T0040"]
        "Another kind of program calls models from a network"
        "For the inventory: which libraries and tools call models from where. Command lines and test tools beside an application's library are \
         somebody trying things by hand; ask who."
    DIRECT "direct-provider-call" Low ["AML.T0040", "T1567"]
        "A machine calls a provider of models past the gateway"
        "What is asked there is neither logged nor filtered nor paid through the gateway: shadow AI. Find out which program it is, and give it \
         a gateway key."
    UNLISTED "unlisted-asset" Medium ["AML.T0010", "AML.T0103"]
        "Something is in use that the allow-list does not name"
        "The configuration lists what may be used, and this is not in it. Either its use was never decided on, or the list is old: find out, and \
         stop the one or mend the other."
}
