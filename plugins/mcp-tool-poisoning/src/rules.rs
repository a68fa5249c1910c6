//! What can be found.

sentrail_plugin::rules! {
    DESCRIPTION "poisoned-tool-description" High ["AML.T0110", "AML.T0051.001"]
        "A tool's description steers the agent"
        "What describes a tool tells the model what to do beyond it: to hide something, to pass on secrets, to put aside other instructions. Block the server, and review what agents that saw the description did since. OWASP ASI02, ASI04; LLM01."
    DATA "instructions-in-tool-data" Medium ["AML.T0051.001"]
        "Data that a tool was given or gave back holds instructions to the model"
        "A document, a page or a message speaks to the model as if it were its user. Find out where the text came from, and what the agent did after reading it. OWASP LLM01; ASI01."
    MEMORY "poisoned-memory" High ["AML.T0080.000", "AML.T0070"]
        "Instructions were put where agents remember or look things up"
        "What is in a memory or a vector store comes back in later sessions, to other users and agents. Remove the entry, and find out who wrote it. OWASP ASI06; LLM04, LLM08."
    MESSAGE "instructions-between-agents" High ["AML.T0051.001", "AML.T0061"]
        "An agent was given instructions by another that put its own aside"
        "An agent that was taken over passes its orders on to those that trust it. Look at what the sender read before, and hold both. OWASP ASI07."
    HIDDEN "hidden-characters" High ["AML.T0068", "AML.T0110"]
        "A text of a tool holds characters that people do not see"
        "The model reads what a reviewer cannot: invisible letters, or letters in reversed order. Look at the text's bytes, and block its source if they mean something. OWASP LLM01."
    NAME "deceptive-name" High ["AML.T0074", "AML.T0073"]
        "The name of a tool or server mixes scripts or imitates a known one"
        "The name looks like another: letters of other alphabets, digits for letters, a letter too many or too few. Find out which was meant, and who chose this one. OWASP ASI04."
    CHANGED "tool-description-changed" Medium ["AML.T0109", "T1195.002"]
        "A tool is not what it was when it was first seen"
        "Its description or its parameters changed after agents had come to use it. Compare it with what was approved; servers are updated, and servers are taken over. OWASP ASI04."
    UNVERIFIED "unverified-server" Medium ["AML.T0010.005", "T1195.002"]
        "A server, tool or package that nothing vouches for was taken"
        "Its signature, its checksum, its publisher or its approval is missing or wrong, or it is said to be untrusted. Keep it from agents until its origin is known. OWASP ASI04; LLM03."
    DEFINITION "definition-differs" High ["AML.T0110", "AML.T0109"]
        "What a server or tool is differs from what it was declared to be"
        "The record holds both, and they are not the same: a hash, a description, an address, an answer. Find out who changed it and whether it was approved. OWASP ASI04."
}
