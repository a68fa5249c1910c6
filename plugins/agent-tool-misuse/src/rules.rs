//! What can be found.

sentrail_plugin::rules! {
    TRAVERSAL "path-traversal" High ["AML.T0053", "T1083"]
        "A tool was given a path out of its directory"
        "The path climbs to where the tool has no business, or hides that it does. Find out what made the agent ask for it, and whether the server answered."
    SECRET_FILE "secret-file-named" Medium ["AML.T0053", "T1552.001"]
        "A tool was given the path of a file of secrets"
        "Keys and passwords are kept there, and what a tool reads goes to the model and its provider. Find out whether the user asked for it; otherwise rotate what was in the file."
    CREDENTIAL "credential-in-tool-traffic" Medium ["AML.T0057", "T1552.001"]
        "A credential went through a tool"
        "What is given to a tool or comes back from it is kept in conversations and logs. Rotate the credential, and find out why the agent had it."
    CODE "dangerous-code" Low ["AML.T0053", "T1059"]
        "A tool was given code that runs whatever it is handed"
        "The code runs texts, downloads or commands that others may choose. Read what the agent wrote and who asked for it before it is merged or run."
}
