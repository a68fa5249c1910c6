//! What can be found.

sentrail_plugin::rules! {
    OUTWARD "data-sent-out" High ["AML.T0086", "T1567"]
        "An agent's tool sent data to where anybody can take it"
        "The address is a drop, a tunnel or a chat's hook, or what was sent is encoded, a credential, or more than an answer needs. Find out what was in it and who made the agent send it. OWASP ASI02; LLM02."
    CALLBACK "unusual-connection" Medium ["T1102", "T1071.001"]
        "A tool, a server or an installer connected to a service that hides who receives"
        "Paste sites, tunnels, chat services' files and hooks are used to fetch orders and to hand out data. Confirm that the program needs it. OWASP ASI04."
    ENCODED "data-in-parameter" Medium ["AML.T0086", "T1132.001", "T1048"]
        "A parameter, an address or a name of a host carries encoded data"
        "Where a word or a number is expected stands a long code: data leaves inside of calls that look ordinary. Decode it, and block the receiver. OWASP ASI02."
    CONTEXT "context-in-parameter" Medium ["AML.T0086", "AML.T0057"]
        "A tool was given parts of the conversation as a parameter"
        "Names such as `conversation_history` make a model fill in what it holds, whatever the tool is for. Look at the tool's schema, and block its server. OWASP LLM02; ASI02."
    PASSED "data-passed-to-sender" High ["AML.T0086", "AML.T0085.001"]
        "What one tool read of sensitive data went to another that sends"
        "A chain of tools takes data across a border that each tool alone keeps. Find out what passed and who asked for it. OWASP ASI02, ASI08."
    SEQUENCE "read-then-sent" Medium ["AML.T0086", "T1041"]
        "A session read what is sensitive and then called a tool that sends outward"
        "Minutes lay between the two. Compare what was read with what was sent, and find out what made the agent do it: often a text that it read just before. OWASP ASI02; LLM02."
    DUMP "mass-read" Medium ["AML.T0085", "T1213", "T1119"]
        "A tool was made to read a store, a schema or a directory as a whole"
        "Whole tables, every record, archives of directories: more than a question needs. Confirm the job that asked for it; otherwise find out where it went. OWASP ASI02; LLM02."
    SOUGHT "credentials-sought" Medium ["AML.T0082", "AML.T0098", "T1552"]
        "A model's memory or document store was searched for credentials"
        "Credentials do not belong there, and who asks for them there does not have them. Look at what was answered, and take it out of the store. OWASP LLM02, LLM08."
    DISCLOSED "internals-sought" Low ["AML.T0056", "AML.T0084.001"]
        "An agent was asked for its instructions or for everything it can call"
        "Who wants to steer an agent begins so. By itself it is curiosity; look at what followed. OWASP LLM07."
}
