//! What can be found.

use sentrail_plugin::{Rule, Severity};

pub const TRAVERSAL: Rule = Rule {
    id: "path-traversal",
    title: "A tool was given a path out of its directory",
    description: "The path climbs to where the tool has no business, or hides that it does. Find out what made the agent ask for it, and \
                  whether the server answered.",
    severity: Severity::High,
    techniques: &["AML.T0053", "T1083"],
};
pub const SECRET_FILE: Rule = Rule {
    id: "secret-file-named",
    title: "A tool was given the path of a file of secrets",
    description: "Keys and passwords are kept there, and what a tool reads goes to the model and its provider. Find out whether the user \
                  asked for it; otherwise rotate what was in the file.",
    severity: Severity::Medium,
    techniques: &["AML.T0053", "T1552.001"],
};
pub const CREDENTIAL: Rule = Rule {
    id: "credential-in-tool-traffic",
    title: "A credential went through a tool",
    description: "What is given to a tool or comes back from it is kept in conversations and logs. Rotate the credential, and find out why \
                  the agent had it.",
    severity: Severity::Medium,
    techniques: &["AML.T0057", "T1552.001"],
};
pub const CODE: Rule = Rule {
    id: "dangerous-code",
    title: "A tool was given code that runs whatever it is handed",
    description: "The code runs texts, downloads or commands that others may choose. Read what the agent wrote and who asked for it before \
                  it is merged or run.",
    severity: Severity::Low,
    techniques: &["AML.T0053", "T1059"],
};

/// All of them.
pub const ALL: &[&Rule] = &[&TRAVERSAL, &SECRET_FILE, &CREDENTIAL, &CODE];
