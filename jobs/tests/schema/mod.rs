//! The part of JSON Schema that the documented forms need.

use serde_json::Value;

/// The schema below the heading of `docs/cli.md` that names this verb.
pub fn documented(verb: &str) -> Value {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    let page = std::fs::read_to_string(page).unwrap();
    let below = page.split_once(&format!("\n## `{verb}`\n")).unwrap().1;
    let schema = below.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    serde_json::from_str(schema).unwrap()
}

/// Asserts that a value is of a form; members that the form does not know are refused.
pub fn check(schema: &Value, value: &Value, path: &str) {
    let allowed: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = allowed.contains(&found) || found == "integer" && allowed.contains(&"number");
    assert!(fits, "{path} is {found}, not {allowed:?}");
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        assert!(value.get(name).is_some(), "{path}.{name} is missing");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name).or(schema.get("additionalProperties"));
        let known = known.unwrap_or_else(|| panic!("{path}.{name} is not documented"));
        check(known, member, &format!("{path}.{name}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{path}[{index}]"));
    }
}
