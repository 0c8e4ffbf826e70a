use serde::{Deserialize, Serialize};

use super::{Metadata, null_as_default};

/// A method that a service offers: Vine's word, not a network address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Endpoint {
    /// The method, for instance `Greeter.Hello` or `/v1/hello`.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// What the method takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// What the method answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
    /// Facts about the method.
    #[serde(
        skip_serializing_if = "Metadata::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub metadata: Metadata,
}

impl Endpoint {
    /// An endpoint without request, response and metadata.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Sets what the method takes.
    #[must_use]
    pub fn with_request(mut self, request: Value) -> Self {
        self.request = Some(request);
        self
    }

    /// Sets what the method answers.
    #[must_use]
    pub fn with_response(mut self, response: Value) -> Self {
        self.response = Some(response);
        self
    }

    /// Sets the facts about the method.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<Metadata>) -> Self {
        self.metadata = metadata.into();
        self
    }
}

/// The shape of a request or a response; nested for structures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Value {
    /// The field's or the message's name.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// The type's name; `type` in JSON.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// The fields of a structure.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub values: Vec<Self>,
}

impl Value {
    /// A value without fields.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            values: Vec::new(),
        }
    }

    /// Sets the fields of a structure.
    #[must_use]
    pub fn with_values(mut self, values: impl IntoIterator<Item = Self>) -> Self {
        self.values = values.into_iter().collect();
        self
    }
}
