//! Configuration: a struct with defaults, read from JSON, published as JSON Schema.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What [`crate::Detector::Config`] has to offer; [`crate::config!`] implements it.
pub trait Config: Sized {
    /// Reads JSON text; an empty text means that nothing was set.
    fn from_json(json: &str) -> Result<Self, String>;
    /// JSON Schema of the configuration; empty where there is none.
    fn schema() -> String;
}

impl Config for () {
    fn from_json(json: &str) -> Result<Self, String> {
        match json.trim() {
            "" | "{}" | "null" => Ok(()),
            other => Err(format!("this plugin takes no configuration, but was given {other}")),
        }
    }

    fn schema() -> String {
        String::new()
    }
}

/// Declares a configuration: every field has a default and says, in its documentation, what it means and why the default is
/// what it is. The documentation is published with the plugin.
///
/// ```
/// sentrail_plugin::config! {
///     /// Limits of the burst rule.
///     pub struct Limits {
///         /// Failed calls in five minutes. People mistype a key a few times; scripts do not stop.
///         pub failures: u64 = 20,
///     }
/// }
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[$outer:meta])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:expr])* $field_vis:vis $field:ident : $type:ty = $default:expr ),* $(,)?
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "sentrail_plugin::serde", default, deny_unknown_fields)]
        $vis struct $name {
            $( $(#[doc = $doc])* $field_vis $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $crate::Config for $name {
            fn from_json(json: &str) -> Result<Self, String> {
                if json.trim().is_empty() {
                    return Ok(Self::default());
                }
                $crate::json::from_str(json).map_err(|error| error.to_string())
            }

            fn schema() -> String {
                $crate::schema_of(&Self::default(), &[$( (stringify!($field), concat!($($doc),*)) ),*])
            }
        }
    };
}

/// The schema of a struct all of whose fields have a default: the defaults give the types.
pub fn schema_of<T: Serialize>(default: &T, docs: &[(&str, &str)]) -> String {
    let Ok(Value::Object(defaults)) = serde_json::to_value(default) else {
        return String::new();
    };
    let mut properties = Map::new();
    for (name, value) in defaults {
        let kind = match &value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let mut property = json!({ "type": kind, "default": value });
        if kind == "array" {
            property["items"] = json!({ "type": "string" });
        }
        if let Some((_, doc)) = docs.iter().find(|(documented, _)| *documented == name) {
            property["description"] = json!(doc.trim());
        }
        properties.insert(name, property);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties }).to_string()
}
