//! Programs that call models, by what they say of themselves, and hosts where models are offered.

use sentrail_plugin::Search;

/// What a user agent holds, in small letters, and the program that says it. The first that fits counts: what a library is built on stands
/// behind it.
const PROGRAMS: &[(&str, &str)] = &[
    ("claude-cli", "Claude Code"),
    ("claude-code", "Claude Code"),
    ("codex", "Codex"),
    ("githubcopilot", "GitHub Copilot"),
    ("copilot", "GitHub Copilot"),
    ("cursor/", "Cursor"),
    ("cline", "Cline"),
    ("aider", "Aider"),
    ("openwebui", "Open WebUI"),
    ("open-webui", "Open WebUI"),
    ("librechat", "LibreChat"),
    ("litellm", "LiteLLM"),
    ("langgraph", "LangGraph"),
    ("langchain", "LangChain"),
    ("llama-index", "LlamaIndex"),
    ("llama_index", "LlamaIndex"),
    ("crewai", "CrewAI"),
    ("autogen", "AutoGen"),
    ("semantic-kernel", "Semantic Kernel"),
    ("haystack", "Haystack"),
    ("dspy", "DSPy"),
    ("pydantic-ai", "Pydantic AI"),
    ("azsdk-python-ai", "the Azure AI SDK"),
    ("openai/", "the OpenAI SDK"),
    ("anthropic/", "the Anthropic SDK"),
    ("google-genai", "the Google GenAI SDK"),
    ("mistral-client", "the Mistral SDK"),
    ("mistralai", "the Mistral SDK"),
    ("cohere", "the Cohere SDK"),
    ("groq/", "the Groq SDK"),
    ("ollama", "Ollama"),
    ("huggingface_hub", "huggingface_hub"),
    ("transformers/", "Transformers"),
    ("qdrant-client", "the Qdrant client"),
    ("pymilvus", "the Milvus client"),
    ("boto3", "the AWS SDK for Python"),
    ("aws-sdk", "an AWS SDK"),
    ("aws-cli", "the AWS command line"),
    ("curl/", "curl"),
    ("wget/", "Wget"),
    ("httpie", "HTTPie"),
    ("postmanruntime", "Postman"),
    ("insomnia", "Insomnia"),
    ("python-requests", "Python's requests"),
    ("python-httpx", "Python's httpx"),
    ("aiohttp", "Python's aiohttp"),
    ("python-urllib", "Python's urllib"),
    ("axios", "axios"),
    ("node-fetch", "node-fetch"),
    ("undici", "undici"),
    ("go-http-client", "a Go program"),
    ("okhttp", "a Java program"),
    ("java", "a Java program"),
    ("mozilla/", "a browser"),
];

/// Programs that people work by hand.
const BY_HAND: &[&str] = &["curl", "Wget", "HTTPie", "Postman", "Insomnia", "the AWS command line"];

/// Hosts where models are offered over the network; what lies below them counts too.
const PROVIDERS: &[&str] = &[
    "api.openai.com",
    "openai.azure.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "aiplatform.googleapis.com",
    "api.mistral.ai",
    "api.cohere.com",
    "api.cohere.ai",
    "api.groq.com",
    "api.together.xyz",
    "api.together.ai",
    "api.fireworks.ai",
    "api.perplexity.ai",
    "api.deepseek.com",
    "api.x.ai",
    "openrouter.ai",
    "api.replicate.com",
    "api-inference.huggingface.co",
    "router.huggingface.co",
    "dashscope.aliyuncs.com",
    "api.moonshot.cn",
    "integrate.api.nvidia.com",
    "api.ai21.com",
    "api.deepinfra.com",
    "chatgpt.com",
    "claude.ai",
    "gemini.google.com",
    "chat.deepseek.com",
    "copilot.microsoft.com",
];

/// Where Ollama listens.
const OLLAMA_PORT: i64 = 11434;

/// The program that a user agent names.
pub fn program(user_agent: &str) -> Option<&'static str> {
    let lower = user_agent.to_ascii_lowercase();
    PROGRAMS
        .iter()
        .find(|(mark, _)| lower.holds(mark))
        .map(|(_, program)| *program)
}

/// Whether people work it by hand.
pub fn by_hand(program: &str) -> bool {
    BY_HAND.contains(&program)
}

/// The provider that a connection goes to.
pub fn provider(host: Option<&str>, port: Option<i64>) -> Option<&'static str> {
    let host = host
        .unwrap_or_default()
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let named = PROVIDERS.iter().copied().find(|known| {
        host == *known || host.strip_suffix(known).is_some_and(|rest| rest.ends_with('.')) || {
            // Regional names stand before a dash.
            host.strip_suffix(known).is_some_and(|rest| rest.ends_with('-'))
        }
    });
    named.or((port == Some(OLLAMA_PORT)).then_some("an Ollama server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_what_they_say() {
        for (agent, expected) in [
            ("OpenAI/Python 1.54.0", Some("the OpenAI SDK")),
            ("AsyncAnthropic/Python 0.39.0", Some("the Anthropic SDK")),
            ("langchain-openai/0.2 OpenAI/Python 1.5", Some("LangChain")),
            ("curl/8.5.0", Some("curl")),
            ("something else", None),
        ] {
            assert_eq!(program(agent), expected, "{agent}");
        }
        assert!(by_hand("curl") && !by_hand("LangChain"));
    }

    #[test]
    fn providers_are_told_by_their_hosts() {
        assert_eq!(
            provider(Some("acme.openai.azure.com:443"), None),
            Some("openai.azure.com")
        );
        assert_eq!(
            provider(Some("us-central1-aiplatform.googleapis.com"), None),
            Some("aiplatform.googleapis.com")
        );
        assert_eq!(provider(Some("10.0.0.5"), Some(11434)), Some("an Ollama server"));
        assert_eq!(provider(Some("notapi.openai.com.example"), Some(443)), None);
    }
}
