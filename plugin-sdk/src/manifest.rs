//! What a plugin says of itself.

/// How bad it is, in OCSF's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// One step less grave; informational stays.
    #[must_use]
    pub fn lower(self) -> Self {
        match self {
            Self::Critical => Self::High,
            Self::High => Self::Medium,
            Self::Medium => Self::Low,
            Self::Low | Self::Informational => Self::Informational,
        }
    }
}

/// One thing that a plugin can find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique within the plugin; kebab-case.
    pub id: &'static str,
    pub title: &'static str,
    /// What it means and what to do about it, in plain words.
    pub description: &'static str,
    /// What a detection has unless it says otherwise.
    pub severity: Severity,
    /// ATT&CK (`T1078.004`) and ATLAS (`AML.T0051.000`) technique ids.
    pub techniques: &'static [&'static str],
}

/// Who a plugin is, what it reads and what it can find.
///
/// Names and rules live as long as the program. A detector whose rules or columns come from its configuration leaks them
/// (`String::leak`, `Box::leak`) when it is built: an instance is configured once, so they are as many as the configuration names.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub id: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    /// OCSF classes that it wants to see; empty: all.
    pub classes: &'static [&'static str],
    /// Layers of the stack that it wants to see; empty: all.
    pub layers: &'static [&'static str],
    /// Columns it reads, by name.
    pub columns: &'static [&'static str],
    /// For a plugin that keeps state: the columns of which the first that is not null routes a row. Empty: stateless.
    pub key: &'static [&'static str],
    /// Counts up when [`crate::Detector::State`] changes its form: what an older form saved then goes to
    /// [`crate::Detector::migrate`].
    pub state_version: u32,
    /// Whether [`crate::Detector::advance`] is called. Only for a plugin that keeps state.
    pub wants_time: bool,
    pub rules: &'static [&'static Rule],
}

impl Manifest {
    /// What the fields are that a manifest leaves out.
    pub const EMPTY: Self = Self {
        id: "",
        version: "",
        description: "",
        classes: &[],
        layers: &[],
        columns: &[],
        key: &[],
        state_version: 1,
        wants_time: false,
        rules: &[],
    };
}

/// Declares the rules of a detector, each as `NAME "id" Severity ["technique", …] "title" "description"`: a constant each, and `ALL`.
#[macro_export]
macro_rules! rules {
    ($( $name:ident $id:literal $severity:ident [$($technique:literal),+] $title:literal $description:literal )*) => {
        $( pub const $name: $crate::Rule = $crate::Rule {
            id: $id,
            title: $title,
            description: $description,
            severity: $crate::Severity::$severity,
            techniques: &[$($technique),+],
        }; )*
        /// All of them.
        pub const ALL: &[&$crate::Rule] = &[$( &$name ),*];
    };
}
