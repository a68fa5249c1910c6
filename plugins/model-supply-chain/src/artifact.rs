//! What a record of a registry says of an artifact, in one form whatever the registry, and what a file's name says of its format.

use sentrail_plugin::json::Value;
use sentrail_plugin::{Search, Severity};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Write,
    Other,
}

/// A model, data set or image that was touched.
#[derive(Debug)]
pub struct Artifact<'a> {
    /// Without version and digest.
    pub name: &'a str,
    /// Tag or version.
    pub version: Option<&'a str>,
    pub digest: Option<&'a str>,
    /// Where a model registry has it from.
    pub source: Option<&'a str>,
}

impl<'a> Artifact<'a> {
    /// Reads `NAME@DIGEST` or `NAME:VERSION`, and beside it, for registries of images, the resource `NAME:TAG`.
    pub fn read(uid: &'a str, resource: Option<&'a str>, request: Option<&'a Value>) -> Artifact<'a> {
        let (name, digest) = match uid.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (uid, None),
        };
        // A colon before the last slash belongs to a port.
        let tagged = |text: &'a str| text.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let (name, version) = match tagged(name) {
            Some((name, version)) if digest.is_none() => (name, Some(version)),
            _ => (name, None),
        };
        let tag = || {
            resource
                .and_then(tagged)
                .filter(|(repository, _)| *repository == name)
                .map(|(_, tag)| tag)
        };
        let source = request
            .and_then(|request| request.get("source"))
            .and_then(Value::as_str)
            .filter(|source| !source.is_empty());
        Artifact {
            name,
            version: version.or_else(tag),
            digest,
            source,
        }
    }
}

/// How much a version's name promises that its content stays. `None` for names that are meant to move, such as `latest`.
pub fn promises(version: &str) -> Option<Severity> {
    let numbers = version
        .split(['.', '-', '_'])
        .filter(|part| part.bytes().any(|byte| byte.is_ascii_digit()))
        .count();
    match numbers {
        0 => None,
        // `1` and `1.2` of images often mean the newest of their kind.
        1 | 2 => Some(Severity::Medium),
        _ => Some(Severity::High),
    }
}

/// A format that can carry code, and how grave that is.
pub fn unsafe_format(path: &str) -> Option<(&'static str, Severity)> {
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    let file = path.rsplit('/').next()?.to_ascii_lowercase();
    let (stem, extension) = file.rsplit_once('.')?;
    match extension {
        "pkl" | "pickle" | "dill" | "joblib" | "cloudpickle" => Some(("a pickle", Severity::Medium)),
        "pt" | "pth" | "ckpt" => Some(("a PyTorch checkpoint, which is a pickle", Severity::Medium)),
        // Other programs call their files so too.
        "bin"
            if ["model", "adapter", "optimizer", "training_args", "weights"]
                .iter()
                .any(|word| stem.holds(word)) =>
        {
            Some(("PyTorch weights, which are a pickle", Severity::Medium))
        }
        "h5" | "hdf5" | "keras" => Some(("a Keras model, which can hold code", Severity::Low)),
        _ => None,
    }
}

/// Whether a file is a model's weights, in any format.
pub fn is_model(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let safe = [".safetensors", ".gguf", ".ggml", ".onnx"];
    unsafe_format(&path).is_some() || safe.iter().any(|extension| path.ends_with(extension))
}

/// The host of a URL that leads to another machine. Of a bucket, or of a registry's own scheme, there is none.
pub fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let remote = ["http", "https", "oci", "docker", "git", "ftp", "git+https"];
    if !remote.contains(&scheme.to_ascii_lowercase().as_str()) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    Some(
        host.strip_prefix('[')
            .and_then(|host| host.split(']').next())
            .unwrap_or_else(|| host.split(':').next().unwrap_or(host)),
    )
}

/// Whether a host is one of `known`, or below one of them.
pub fn is_known(host: &str, known: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    known.iter().any(|known| {
        let known = known.to_ascii_lowercase();
        host == known || host.strip_suffix(&known).is_some_and(|rest| rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_read_from_either_form() {
        let image = Artifact::read("ml/ranker@sha256:00aa", Some("ml/ranker:v3"), None);
        assert_eq!(
            (image.name, image.version, image.digest),
            ("ml/ranker", Some("v3"), Some("sha256:00aa"))
        );
        let model = Artifact::read("ranker:3", Some("s3://models/ranker/3"), None);
        assert_eq!((model.name, model.version, model.digest), ("ranker", Some("3"), None));
        let port = Artifact::read("localhost:5000/x", None, None);
        assert_eq!((port.name, port.version), ("localhost:5000/x", None));
    }

    #[test]
    fn formats_are_told_by_their_files() {
        for (path, unsafe_too) in [
            ("s3://m/model.pkl", true),
            ("/acme/x/resolve/main/pytorch_model.bin?download=true", true),
            ("a/model.keras/", true),
            ("x.safetensors", false),
            ("x/firmware.bin", false),
            ("s3://models/ranker/3", false),
        ] {
            assert_eq!(unsafe_format(path).is_some(), unsafe_too, "{path}");
        }
        assert!(is_model("x.GGUF") && !is_model("x.txt"));
    }

    #[test]
    fn hosts_are_those_of_other_machines() {
        let known = ["huggingface.co".to_owned()];
        assert_eq!(host("s3://bucket/x"), None);
        assert_eq!(host("https://u:p@hub.example:8443/x"), Some("hub.example"));
        assert_eq!(host("http://[2001:db8::1]:80/x"), Some("2001:db8::1"));
        assert!(is_known("cdn-lfs.HuggingFace.co", &known) && !is_known("nothuggingface.co", &known));
    }
}
