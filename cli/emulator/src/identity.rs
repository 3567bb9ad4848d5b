//! IAM and STS: the roles of functions, and the identity of the caller. Policies are stored and returned, but not
//! enforced.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::answer::{Escaped, Failure, new_id, xml};
use super::{ACCOUNT, Answer, Credentials};

/// Characters that are percent-encoded in policy documents of answers, as in RFC 3986.
const DOCUMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

type Fields = HashMap<String, String>;

/// All roles, by name.
#[derive(Default)]
pub(super) struct Identity(Mutex<BTreeMap<String, Role>>);

struct Role {
    path: String,
    id: String,
    created: String,
    trust: String,
    description: Option<String>,
    tags: BTreeMap<String, String>,
    policies: BTreeMap<String, String>,
}

impl Role {
    fn arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{name}", self.path)
    }

    fn describe(&self, name: &str) -> String {
        let description = self.description.as_deref().map(|d| format!("<Description>{}</Description>", Escaped(d)));
        format!(
            "<Role><Path>{}</Path><RoleName>{name}</RoleName><RoleId>{}</RoleId><Arn>{}</Arn>\
             <CreateDate>{}</CreateDate><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument>{}\
             <MaxSessionDuration>3600</MaxSessionDuration>{}</Role>",
            Escaped(&self.path),
            self.id,
            Escaped(&self.arn(name)),
            self.created,
            utf8_percent_encode(&self.trust, DOCUMENT),
            description.unwrap_or_default(),
            tags(&self.tags),
        )
    }

    /// Whether Lambda may assume this role.
    fn trusts_lambda(&self) -> bool {
        serde_json::from_str::<serde_json::Value>(&self.trust).is_ok_and(|document| {
            let statements = match &document["Statement"] {
                serde_json::Value::Array(several) => several.as_slice(),
                one => std::slice::from_ref(one),
            };
            statements.iter().any(|statement| {
                let service = &statement["Principal"]["Service"];
                let names = service.as_array().map_or(std::slice::from_ref(service), Vec::as_slice);
                statement["Effect"] == "Allow" && names.iter().any(|name| name == "lambda.amazonaws.com")
            })
        })
    }
}

impl Identity {
    /// Whether this is the ARN of a role that Lambda may assume.
    pub(super) fn assumable(&self, arn: &str) -> bool {
        let name = arn.rsplit('/').next().unwrap_or_default();
        self.roles().get(name).is_some_and(|role| role.arn(name) == arn && role.trusts_lambda())
    }

    /// Handles a request to IAM or STS. They use the query protocol.
    pub(super) fn call(&self, credentials: &Credentials, body: &[u8]) -> Result<Answer, Failure> {
        let fields: Fields = form_urlencoded::parse(body).into_owned().collect();
        let action = field(&fields, "Action")?;
        if action == "GetCallerIdentity" {
            let key = &credentials.access_key;
            let text = format!(
                "<Arn>arn:aws:iam::{ACCOUNT}:user/emulator</Arn><UserId>{key}</UserId><Account>{ACCOUNT}</Account>"
            );
            return Ok(result(action, &text));
        }
        let mut roles = self.roles();
        if action == "CreateRole" {
            return create(&mut roles, &fields);
        }
        let known = [
            "GetRole",
            "UpdateAssumeRolePolicy",
            "DeleteRole",
            "PutRolePolicy",
            "GetRolePolicy",
            "ListRolePolicies",
            "DeleteRolePolicy",
            "ListAttachedRolePolicies",
            "ListInstanceProfilesForRole",
            "TagRole",
            "UntagRole",
            "ListRoleTags",
        ];
        if !known.contains(&action) {
            return Err(Failure::new(400, "InvalidAction", format!("the emulator does not support `{action}`")));
        }
        let name = field(&fields, "RoleName")?;
        let role = roles.get_mut(name).ok_or_else(|| missing(format!("The role with name {name} cannot be found.")))?;
        if action == "DeleteRole" {
            if !role.policies.is_empty() {
                return Err(Failure::new(409, "DeleteConflict", "Cannot delete entity, must delete policies first."));
            }
            roles.remove(name);
            return Ok(result(action, ""));
        }
        Ok(result(action, &role.change(name, action, &fields)?))
    }

    fn roles(&self) -> MutexGuard<'_, BTreeMap<String, Role>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Role {
    /// Performs `action` and returns the content of its answer.
    fn change(&mut self, name: &str, action: &str, fields: &Fields) -> Result<String, Failure> {
        let none = String::new();
        match action {
            "GetRole" => return Ok(self.describe(name)),
            "UpdateAssumeRolePolicy" => self.trust = document(fields, "PolicyDocument")?,
            "PutRolePolicy" => {
                let document = document(fields, "PolicyDocument")?;
                self.policies.insert(field(fields, "PolicyName")?.to_owned(), document);
            }
            "GetRolePolicy" => {
                let policy = field(fields, "PolicyName")?;
                let document = self.policies.get(policy).ok_or_else(|| no_policy(policy))?;
                return Ok(format!(
                    "<RoleName>{name}</RoleName><PolicyName>{}</PolicyName><PolicyDocument>{}</PolicyDocument>",
                    Escaped(policy),
                    utf8_percent_encode(document, DOCUMENT)
                ));
            }
            "DeleteRolePolicy" => {
                let policy = field(fields, "PolicyName")?;
                self.policies.remove(policy).ok_or_else(|| no_policy(policy))?;
            }
            "ListRolePolicies" => {
                let names = self.policies.keys().fold(none, |mut text, name| {
                    let _ = write!(text, "<member>{}</member>", Escaped(name));
                    text
                });
                return Ok(format!("<PolicyNames>{names}</PolicyNames><IsTruncated>false</IsTruncated>"));
            }
            "ListAttachedRolePolicies" => return Ok("<AttachedPolicies/><IsTruncated>false</IsTruncated>".to_owned()),
            "ListInstanceProfilesForRole" => {
                return Ok("<InstanceProfiles/><IsTruncated>false</IsTruncated>".to_owned());
            }
            "TagRole" => self.tags.extend(tags_of(fields)),
            "UntagRole" => {
                for number in 1.. {
                    let Some(key) = fields.get(&format!("TagKeys.member.{number}")) else { break };
                    self.tags.remove(key);
                }
            }
            // Only `ListRoleTags` is left.
            _ => return Ok(format!("{}<IsTruncated>false</IsTruncated>", tags(&self.tags))),
        }
        Ok(none)
    }
}

fn create(roles: &mut BTreeMap<String, Role>, fields: &Fields) -> Result<Answer, Failure> {
    let name = field(fields, "RoleName")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(valid) {
        return Err(Failure::new(400, "ValidationError", "The specified value for roleName is invalid."));
    }
    if roles.contains_key(name) {
        return Err(Failure::new(409, "EntityAlreadyExists", format!("Role with name {name} already exists.")));
    }
    let role = Role {
        path: fields.get("Path").cloned().unwrap_or_else(|| "/".to_owned()),
        id: format!("AROA{}", new_id().replace('-', "")[..17].to_uppercase()),
        created: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        trust: document(fields, "AssumeRolePolicyDocument")?,
        description: fields.get("Description").cloned(),
        tags: tags_of(fields).collect(),
        policies: BTreeMap::new(),
    };
    let text = role.describe(name);
    roles.insert(name.to_owned(), role);
    Ok(result("CreateRole", &text))
}

fn result(action: &str, text: &str) -> Answer {
    xml(
        200,
        format!(
            "<{action}Response><{action}Result>{text}</{action}Result>\
             <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
            new_id()
        ),
    )
}

fn field<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, Failure> {
    let missing = || Failure::new(400, "MissingParameter", format!("the request has no {name}"));
    fields.get(name).map(String::as_str).ok_or_else(missing)
}

/// Returns a policy document, which must be JSON.
fn document(fields: &Fields, name: &str) -> Result<String, Failure> {
    let text = field(fields, name)?;
    let malformed = |e| Failure::new(400, "MalformedPolicyDocument", format!("This policy contains invalid Json: {e}"));
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).map_err(malformed)?;
    Ok(text.to_owned())
}

fn tags_of(fields: &Fields) -> impl Iterator<Item = (String, String)> {
    (1..).map_while(|number| {
        let part = |part| fields.get(&format!("Tags.member.{number}.{part}")).cloned();
        Some((part("Key")?, part("Value").unwrap_or_default()))
    })
}

fn tags(tags: &BTreeMap<String, String>) -> String {
    let members = tags.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = write!(text, "<member><Key>{}</Key><Value>{}</Value></member>", Escaped(key), Escaped(value));
        text
    });
    format!("<Tags>{members}</Tags>")
}

fn missing(message: String) -> Failure {
    Failure::new(404, "NoSuchEntity", message)
}

fn no_policy(policy: &str) -> Failure {
    missing(format!("The role policy with name {policy} cannot be found."))
}
