//! Account names. One person is `ann@example.com` at the gateway, `user/ann` in one cloud account and the session `ann` of a role in
//! another, and no log says that they are one. Findings about identities of one name are linked through the name, unless more
//! identities than a person has go by it: there is an `admin` everywhere.

use crate::model::Entity;

/// The kind of entity that stands for a name in the graph; no log has it.
pub const NAME: &str = "name";

/// Shorter names are initials.
const LENGTH_MIN: usize = 4;

/// Names that say what an account is for and not whose it is.
const FUNCTIONS: [&str; 14] = [
    "root",
    "admin",
    "administrator",
    "user",
    "guest",
    "test",
    "default",
    "system",
    "service",
    "daemon",
    "nobody",
    "ubuntu",
    "ec2-user",
    "postgres",
];

/// The name that an identity goes by.
pub fn name_of(entity: &Entity) -> Option<Entity> {
    if !matches!(&*entity.kind, "principal" | "session") {
        return None;
    }
    let value = &*entity.value;
    // `arn:aws:sts::1:assumed-role/ROLE/NAME`, `arn:aws:iam::1:user/PATH/NAME`, `system:serviceaccount:NAMESPACE:NAME`.
    let last = match value.strip_prefix("arn:") {
        Some(arn) => arn.rsplit_once('/')?.1,
        None if value.contains([':', '/', '\\']) => return None,
        None => value,
    };
    let local = match last.split_once('@') {
        // The user of a machine, and no mail address: every machine has a root.
        Some((_, domain)) if !domain.contains('.') => return None,
        Some((local, _)) => local,
        None => last,
    };
    let local = local.to_lowercase();
    let is_made = local.bytes().filter(u8::is_ascii_digit).count() * 2 > local.len();
    let is_name = local
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'));
    let is_person = local.len() >= LENGTH_MIN && !FUNCTIONS.contains(&local.as_str());
    (is_person && !is_made && is_name).then(|| Entity::new(NAME, &local))
}

#[cfg(test)]
#[test]
fn identities_of_a_person_have_one_name() {
    let of = |kind: &str, value: &str| Some(name_of(&Entity::new(kind, value))?.value.to_string());
    for value in [
        "Ann.Lee@example.com",
        "arn:aws:iam::111122223333:user/staff/ann.lee",
        "ann.lee",
    ] {
        assert_eq!(of("principal", value).as_deref(), Some("ann.lee"), "{value}");
    }
    let session = "arn:aws:sts::111122223333:assumed-role/dev/ann.lee@example.com";
    assert_eq!(of("session", session).as_deref(), Some("ann.lee"));
    for value in [
        "1680000000123",
        "i-0123456789abcdef0",
        "bob",
        "system:node:x",
        "arn:aws:iam::1:root",
        "WORKGROUP\\ann",
        "ann.lee@node-1",
        "Admin@example.com",
    ] {
        assert_eq!(of("principal", value), None, "{value}");
    }
    assert_eq!(of("gateway_key", "ann.lee"), None);
}
