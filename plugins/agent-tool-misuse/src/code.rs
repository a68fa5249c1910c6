//! Code and commands that run what they are handed, fetch what they run, or open a way in.

/// A call of a function, and what it does. What stands before the name must not belong to it: `re.exec(` of a pattern is no `exec(`.
const CALLS: [(&str, &str); 7] = [
    ("eval(", "runs a text"),
    ("exec(", "runs a text"),
    ("os.system(", "runs a shell command"),
    ("os.popen(", "runs a shell command"),
    ("pickle.loads(", "rebuilds objects from bytes"),
    ("marshal.loads(", "rebuilds objects from bytes"),
    ("Invoke-Expression", "runs a text"),
];
/// Texts that say it by themselves.
const TEXTS: [(&str, &str); 6] = [
    ("shell=True", "runs a shell command"),
    ("/dev/tcp/", "opens a connection from a shell"),
    ("nc -e", "gives a shell to a connection"),
    ("--no-preserve-root", "deletes the file system"),
    ("rm -rf /", "deletes directories"),
    ("chmod u+s", "gives a program its owner's rights"),
];
/// Shells into which a download is piped.
const SHELLS: [&str; 5] = ["sh", "bash", "zsh", "python", "python3"];

/// What the text does where it is run.
pub fn dangerous(text: &str) -> Option<&'static str> {
    let called = CALLS.iter().find(|(name, _)| {
        text.match_indices(name)
            .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_')))
    });
    let said = || TEXTS.iter().find(|(said, _)| text.contains(said));
    called.or_else(said).map(|(_, what)| *what).or_else(|| {
        let unsafe_yaml = text.contains("yaml.load(") && !text.contains("SafeLoader");
        unsafe_yaml
            .then_some("rebuilds objects from a document")
            .or_else(|| text.lines().any(is_piped_download).then_some("runs what it downloads"))
    })
}

/// `curl … | sh`, and the same after decoding.
fn is_piped_download(line: &str) -> bool {
    let mut stages = line.split('|').map(str::trim_start);
    let fetches = stages.next().is_some_and(|first| {
        ["curl ", "wget ", "base64 -d", "base64 --decode"]
            .iter()
            .any(|fetch| first.contains(fetch))
    });
    fetches
        && stages.any(|stage| {
            let mut words = stage.split_whitespace().filter(|word| *word != "sudo");
            words
                .next()
                .is_some_and(|program| SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()))
        })
}
