//! What can be found.

use sentrail_plugin::{Rule, Severity};

use crate::phrases::Family;

pub const OVERRIDE: Rule = Rule {
    id: "instruction-override",
    title: "A prompt sets the model's instructions aside",
    description: "Text in the prompt tells the model to ignore what it was told before (OWASP LLM01). Find out whether the caller wrote it or a \
                  document or tool result carried it in, and read what the model answered and did afterwards.",
    severity: Severity::Medium,
    techniques: &["AML.T0051.000"],
};
pub const JAILBREAK: Rule = Rule {
    id: "jailbreak",
    title: "A prompt gives the model a persona without limits",
    description: "The prompt asks the model to play something that never refuses (OWASP LLM01). Read the answer; if the model complied, tighten the \
                  guardrail for this route and talk to the key's owner.",
    severity: Severity::Medium,
    techniques: &["AML.T0054"],
};
pub const EXTRACTION: Rule = Rule {
    id: "system-prompt-extraction",
    title: "A prompt asks for the system prompt",
    description: "Somebody wants to read the instructions the application gives its model, often the first step of an attack on it (OWASP LLM07). Check \
                  whether the answer holds them, and treat any secret in them as known.",
    severity: Severity::Medium,
    techniques: &["AML.T0056"],
};
pub const FORGERY: Rule = Rule {
    id: "role-tag-forgery",
    title: "A prompt forges the marks of another role",
    description: "The text holds the marks with which chat templates part system, user and assistant, so that a part of it may pass for \
                  the system's word. Strip such marks from what users and documents supply.",
    severity: Severity::Medium,
    techniques: &["AML.T0051.000"],
};
pub const OBFUSCATION: Rule = Rule {
    id: "obfuscated-instructions",
    title: "A prompt hides instructions",
    description: "Instructions are encoded or written with invisible or look-alike characters, which people and filters pass over and \
                  models read. Look at the decoded text, and normalise input before it reaches filters.",
    severity: Severity::Medium,
    techniques: &["AML.T0068", "AML.T0051.000"],
};
pub const EXFILTRATION: Rule = Rule {
    id: "exfiltration-lure",
    title: "A prompt wants data sent elsewhere",
    description: "The text asks the model to send what it knows to another place, or to plant code that does. Such text usually comes in \
                  with a document. Check the answer for links and images, and block them when it is shown.",
    severity: Severity::Medium,
    techniques: &["AML.T0051.001", "AML.T0057"],
};
pub const TOOL_MISUSE: Rule = Rule {
    id: "tool-misuse",
    title: "A prompt turns a tool against its host",
    description: "The prompt wants code that attacks: that breaks out of its sandbox, reads the host's secrets or harms others (OWASP \
                  LLM06). Check what the interpreter ran, and rotate what it could reach.",
    severity: Severity::Medium,
    techniques: &["AML.T0053", "AML.T0050"],
};
pub const MANIPULATION: Rule = Rule {
    id: "manipulation",
    title: "A prompt reads like an attempt to move the model from its task",
    description: "The text has the build of known injections and jailbreaks without their usual words (OWASP LLM01). Read it together with \
                  the answer: whether the model left its task decides what it was.",
    severity: Severity::Medium,
    techniques: &["AML.T0051.000", "AML.T0054"],
};
pub const HARM: Rule = Rule {
    id: "harmful-request",
    title: "A prompt asks for help with harm",
    description: "The caller wants instructions, texts or plans that hurt people or break the law. It is no injection, but a use that most \
                  providers forbid. Read the answer, and whether this key asks for such things again.",
    severity: Severity::Medium,
    techniques: &["AML.T0048"],
};
pub const INDIRECT: Rule = Rule {
    id: "indirect-injection",
    title: "What a tool gave back speaks to the model",
    description: "A page, mail or file that a tool fetched holds words for the model and not for people (OWASP LLM01, indirect). Find out who \
                  could write it, and what the model did after it had read it. Of low severity it is a harmless instruction, as manuals \
                  and code hold them too.",
    severity: Severity::Medium,
    techniques: &["AML.T0051.001"],
};
pub const UNSAFE_MARKUP: Rule = Rule {
    id: "unsafe-output-markup",
    title: "An answer holds active markup",
    description: "The model's answer holds a script, a frame or an image that sends a value away, outside of code that is only shown (OWASP \
                  LLM05). Find out whether it was rendered, for whom, and where the model had it from; encode answers before they are shown.",
    severity: Severity::Medium,
    techniques: &["AML.T0077"],
};
pub const UNSAFE_COMMAND: Rule = Rule {
    id: "unsafe-output-command",
    title: "An answer holds a command or query that does harm",
    description: "The model's answer or the arguments of its tool call hold a command or a query that destroys, opens a way in or reads more \
                  than it should (OWASP LLM05, LLM06). Find out whether something ran it, and with which rights.",
    severity: Severity::Medium,
    techniques: &["AML.T0050", "AML.T0053"],
};
pub const TOOL_CALL: Rule = Rule {
    id: "injected-tool-call",
    title: "The model called a tool while its prompt was injected",
    description: "The request carried an injection and the answer calls a tool: the injected text may be acting. Stop the run, look at what \
                  the tool was given, and undo what it did.",
    severity: Severity::High,
    techniques: &["AML.T0051.001", "AML.T0053", "AML.T0086"],
};
pub const RENDERED: Rule = Rule {
    id: "injected-link",
    title: "The answer to an injected prompt holds a link that carries data",
    description: "The request carried an injection and the answer holds an image or link whose address carries a value: showing it sends \
                  the value away. Do not render it, and find out what left.",
    severity: Severity::High,
    techniques: &["AML.T0051.001", "AML.T0077", "AML.T0057"],
};

/// All of them.
pub const ALL: &[&Rule] = &[
    &OVERRIDE,
    &JAILBREAK,
    &EXTRACTION,
    &FORGERY,
    &OBFUSCATION,
    &EXFILTRATION,
    &TOOL_MISUSE,
    &MANIPULATION,
    &HARM,
    &INDIRECT,
    &UNSAFE_MARKUP,
    &UNSAFE_COMMAND,
    &TOOL_CALL,
    &RENDERED,
];

/// The rule of a family.
pub fn of(family: Family) -> &'static Rule {
    match family {
        Family::Override => &OVERRIDE,
        Family::Jailbreak => &JAILBREAK,
        Family::Extraction => &EXTRACTION,
        Family::Forgery => &FORGERY,
        Family::Obfuscation => &OBFUSCATION,
        Family::Exfiltration => &EXFILTRATION,
        Family::ToolMisuse => &TOOL_MISUSE,
        Family::Manipulation => &MANIPULATION,
        Family::Harm => &HARM,
    }
}
