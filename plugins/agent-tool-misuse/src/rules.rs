//! What can be found.

sentrail_plugin::rules! {
    TRAVERSAL "path-traversal" High ["AML.T0053", "T1083"]
        "A tool was given a path out of its directory"
        "The path climbs to where the tool has no business, or hides that it does. Find out what made the agent ask for it, and whether the server answered."
    SECRET_FILE "secret-file-named" Medium ["AML.T0053", "T1552.001"]
        "A tool was given the path of a file of secrets"
        "Keys and passwords are kept there, and what a tool reads goes to the model and its provider. Find out whether the user asked for it; otherwise rotate what was in the file."
    CREDENTIAL "credential-in-tool-traffic" Medium ["AML.T0057", "T1552.001"]
        "A credential was given to a tool"
        "What is given to a tool is kept in conversations and logs. Rotate the credential, and find out why the agent had it."
    CODE "dangerous-code" Low ["AML.T0053", "T1059"]
        "A tool was given code that runs whatever it is handed"
        "The code runs texts, downloads or commands that others may choose. Read what the agent wrote and who asked for it before it is merged or run."
    ENVIRONMENT "environment-read" Medium ["T1552", "AML.T0098"]
        "A tool was told to show its environment"
        "Variables hold keys and tokens, and what a command prints goes to the model. Find out what made the agent ask, and rotate what was shown. OWASP LLM02."
    LISTED "system-directory-listed" Low ["T1083", "AML.T0053"]
        "A tool listed a directory of the system"
        "No project lies there: somebody looks around on the server's machine. Look at what was read next, and bind the tool to its directory. OWASP ASI02."
    WEAKENED "check-weakened" Medium ["AML.T0102", "T1556"]
        "A tool was given code that opens a door"
        "A check of who is let in is answered with yes, or can be switched off. Read the change and who asked for it before it is merged. OWASP ASI05."
    PACKAGE "foreign-package" Medium ["T1195.001", "AML.T0011.001"]
        "A dependency was taken from elsewhere than a registry"
        "A package from a plain address or a local file is what its sender likes. Take it out, and find out where the agent had it from. OWASP ASI04; LLM03."
    COMMAND "command-injected" High ["AML.T0053", "T1059.004"]
        "A value for a tool carries a command"
        "Where a name or a number belongs stands a separator and a program: a server that hands the value to a shell runs it. Find out whether it did, and where the value came from. OWASP ASI05."
    STARTED "program-through-debugger" High ["T1190", "T1059"]
        "A debugging proxy was told to start a program"
        "MCP Inspector's proxy starts what its address names. It is for the developer's own machine and session; from elsewhere it is a way in. Look at what was started, close the port, update the tool. OWASP ASI05."
    HIDDEN "hidden-start" High ["T1059.001", "T1027"]
        "A tool was told to run something that hides what it is"
        "The command is encoded, downloads what it runs, or opens a shell for another machine. Isolate the machine and read what was run. OWASP ASI05."
    ESCAPE "sandbox-escape" High ["AML.T0105", "T1611", "T1068"]
        "A tool was told to leave its sandbox or to take higher rights"
        "The command reaches for the host, its container runtime or root. Stop the agent, and examine the host. OWASP ASI05."
    STAYS "persistence-written" Medium ["T1547", "T1053.003", "AML.T0081"]
        "A tool or an installer wrote where something is run later"
        "Start-up files, timers, hooks and agents' own settings outlive the session. Compare the file with what it was, and find out who asked for it. OWASP ASI06, ASI10."
    INWARD "inner-address" High ["AML.T0053", "T1552.005"]
        "A tool was told to fetch what only the inside can reach"
        "Through the tool somebody outside asks a cloud's metadata, a cluster's ports or the file system. Look at the answer, rotate what was in it, and let the tool reach outside addresses alone. OWASP ASI02; LLM06."
    UNASKED "agent-without-consent" Medium ["AML.T0053", "AML.T0103"]
        "An agent was started so that it asks nobody"
        "With this switch a coding agent runs every tool unasked. In a sandbox of a build that is usual; started by another program on a person's machine it is how malware uses agents. OWASP ASI10; LLM06."
    SCAN "servers-scanned" Low ["T1046", "AML.T0006"]
        "A scanner looked at an MCP server"
        "Somebody looks for open servers. Confirm that it was your own scan; otherwise check that the server asks for a token. OWASP ASI04."
}
