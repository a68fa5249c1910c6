//! Who signed a plugin: a detached minisign signature, `NAME.wasm.minisig` beside `NAME.wasm`.

use std::path::{Path, PathBuf};

use minisign_verify::Signature;

use crate::config::Signer;
use crate::watch::read_bounded;

/// Largest signature file, in bytes: four short lines.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// Where the signature of the plugin file `path` is.
pub(super) fn path_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// The key out of `signers` that signed `content`, the content of the plugin file `path`; `None` where nobody has to. The error says
/// why the file is not to be used.
pub(super) fn verify(path: &Path, content: &[u8], signers: &[Signer]) -> Result<Option<String>, String> {
    if signers.is_empty() {
        return Ok(None);
    }
    let path = path_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.exists() {
        return Err(format!(
            "it is not signed: there is no {name}, and [plugins] signed_by asks for it"
        ));
    }
    let bytes = read_bounded(&path, FILE_BYTES_MAX).map_err(|reason| format!("its signature {name}: {reason}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("its signature {name} is no minisign signature"))?;
    let signature = Signature::decode(&text).map_err(|_| format!("its signature {name} is no minisign signature"))?;
    let mut reason = "it is signed by somebody whom [plugins] signed_by does not name".to_owned();
    for signer in signers {
        match signer.key.verify(content, &signature, false) {
            Ok(()) => return Ok(Some(signer.text.clone())),
            Err(minisign_verify::Error::UnexpectedKeyId) => {}
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                reason =
                    format!("its signature {name} has minisign's old form; sign it again with minisign 0.10 or later");
            }
            Err(_) => {
                reason = format!(
                    "its signature {name} does not fit: the file is not what {} signed",
                    signer.text
                );
            }
        }
    }
    Err(reason)
}
