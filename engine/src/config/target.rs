//! Where alerts go: the one place that decides whether a target is one.

use std::fmt;

use url::Url;

/// The URL of a webhook. A user name, and all that follows the host, may hold a token: only scheme, host and port are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// The error says what is wrong and what would be valid, without what may be secret.
    pub fn parse(text: &str) -> Result<WebhookUrl, String> {
        let valid = "valid is http://HOST/… or https://HOST/…";
        let url = Url::parse(text).map_err(|error| format!("`{}` is no URL ({error}); {valid}", shown(text)))?;
        match (url.scheme(), url.host_str(), url.port()) {
            ("http" | "https", Some(_), Some(1..) | None) => Ok(WebhookUrl(url)),
            _ => Err(format!("`{}` cannot be posted to; {valid}", shown(text))),
        }
    }

    /// All of it.
    pub fn reveal(&self) -> &Url {
        &self.0
    }

    /// `HOST:PORT` to connect to.
    pub fn address(&self) -> String {
        let port = self.0.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.0.host_str().unwrap_or_default())
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.0.as_str()))
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

/// Scheme, host and port of what may be a URL. Of anything else only that it is there: it may be a token.
fn shown(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        None if text.is_empty() => String::new(),
        None => "…".to_owned(),
    }
}

/// Checks the `HOST:PORT` of a syslog receiver.
pub(super) fn syslog_address(text: String) -> Result<String, String> {
    let plain = |host: &str| !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace());
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(1..))) if plain(host) => Ok(text),
        _ => Err(format!(
            "`{text}` is no address; valid is HOST:PORT, for example siem.internal:601"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_needs_a_host_that_can_be_posted_to() {
        for text in [
            "",
            "soar",
            "ftp://host/x",
            "unix:/run/x",
            "http://",
            "https://:443/x",
            "http://host:0/x",
            "http://host:70000/x",
        ] {
            assert!(WebhookUrl::parse(text).is_err(), "{text}");
        }
        let address = |text| WebhookUrl::parse(text).expect("valid").address();
        assert_eq!(address("http://127.0.0.1:9000/hook"), "127.0.0.1:9000");
        assert_eq!(address("https://soar.example.com/hook"), "soar.example.com:443");
        assert_eq!(address("https://[::1]/hook"), "[::1]:443");
    }

    #[test]
    fn what_may_hold_a_token_is_never_shown() {
        let url = WebhookUrl::parse("https://me:pa55@soar.example.com:8443/t0ken/x?key=t0ken#t0ken").expect("valid");
        assert_eq!(url.to_string(), "https://soar.example.com:8443");
        assert_eq!(format!("{url:?}"), "WebhookUrl(https://soar.example.com:8443)");
        for text in [
            "ftp://me:pa55@host/t0ken",
            "http://host:0?t0ken",
            "t0ken",
            "http://a b/t0ken",
        ] {
            let error = WebhookUrl::parse(text).expect_err("refused");
            assert!(!error.contains("t0ken") && !error.contains("pa55"), "{error}");
        }
    }

    #[test]
    fn a_syslog_receiver_needs_a_host_and_a_port() {
        for text in [
            "",
            "siem",
            ":601",
            "siem:0",
            "siem:70000",
            "siem:port",
            "tcp://siem:601",
            "a b:601",
        ] {
            assert!(syslog_address(text.into()).is_err(), "{text}");
        }
        assert!(syslog_address("siem.internal:601".into()).is_ok() && syslog_address("[::1]:601".into()).is_ok());
    }
}
