//! How a row is written: who may ask, what is sent, what is answered.

use std::collections::BTreeMap;

use site_api::{ProblemCode, ReleaseFile};
use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Paths, Ref, RefOr, Required, ResponseBuilder,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type},
        security::SecurityRequirement,
    },
};

use crate::error::status;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const PROBLEM: &str = "application/problem+json";

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anybody,
    /// A PC a user signed in at.
    Pc,
    /// The same, or a delivery within its record.
    Pusher,
    Operator,
    /// Another site.
    Site,
}

impl Who {
    const fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Anybody => &[],
            Self::Pc => &["pc"],
            Self::Pusher => &["pc", "delivery"],
            Self::Operator => &["operator"],
            Self::Site => &["site"],
        }
    }

    const fn refused(self) -> Option<ProblemCode> {
        match self {
            Self::Anybody => None,
            Self::Pc | Self::Pusher | Self::Operator => Some(ProblemCode::NotSignedIn),
            Self::Site => Some(ProblemCode::UnknownSite),
        }
    }
}

/// A media type and what is in it.
type Sent = (&'static str, RefOr<Schema>);
type Schemas = Vec<(String, RefOr<Schema>)>;

/// One method of one path.
pub(crate) struct Row {
    method: HttpMethod,
    path: String,
    says: &'static str,
    who: Who,
    takes: Option<Sent>,
    queries: Vec<(&'static str, &'static str)>,
    answers: Vec<(u16, &'static str, Option<Sent>)>,
    problems: Vec<ProblemCode>,
    headers: &'static [&'static str],
    schemas: Schemas,
}

pub(crate) fn get(path: &str, who: Who, says: &'static str) -> Row {
    Row::new(HttpMethod::Get, path, who, says)
}

pub(crate) fn put(path: &str, who: Who, says: &'static str) -> Row {
    Row::new(HttpMethod::Put, path, who, says)
}

pub(crate) fn post(path: &str, who: Who, says: &'static str) -> Row {
    Row::new(HttpMethod::Post, path, who, says)
}

pub(crate) fn delete(path: &str, who: Who, says: &'static str) -> Row {
    Row::new(HttpMethod::Delete, path, who, says)
}

impl Row {
    fn new(method: HttpMethod, path: &str, who: Who, says: &'static str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            says,
            who,
            takes: None,
            queries: Vec::new(),
            answers: Vec::new(),
            problems: who.refused().into_iter().collect(),
            headers: &[],
            schemas: Vec::new(),
        }
    }

    /// The body is JSON of this type.
    pub(crate) fn takes<T: ToSchema>(mut self) -> Self {
        let schema = reference::<T>(&mut self.schemas);
        self.takes = Some((JSON, schema));
        self
    }

    /// The body is a JSON object of these texts, and of nothing else.
    pub(crate) fn takes_texts(mut self, names: &[&str]) -> Self {
        let object = names.iter().fold(ObjectBuilder::new(), |object, name| {
            object.property(*name, string())
        });
        self.takes = Some((JSON, object.schema_type(Type::Object).into()));
        self
    }

    /// An answer of JSON whose members the protocol page names.
    pub(crate) fn any_json(mut self, status: u16, says: &'static str) -> Self {
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        self.answers.push((status, says, Some((JSON, any.into()))));
        self
    }

    /// The body is bytes.
    pub(crate) fn takes_bytes(mut self) -> Self {
        self.takes = Some((BYTES, binary()));
        self
    }

    /// A member of the query, and what it means.
    pub(crate) fn query(mut self, name: &'static str, says: &'static str) -> Self {
        self.queries.push((name, says));
        self
    }

    /// An answer without a body.
    pub(crate) fn answers(mut self, status: u16, says: &'static str) -> Self {
        self.answers.push((status, says, None));
        self
    }

    /// An answer of JSON of this type.
    pub(crate) fn json<T: ToSchema>(mut self, status: u16, says: &'static str) -> Self {
        let schema = reference::<T>(&mut self.schemas);
        self.answers.push((status, says, Some((JSON, schema))));
        self
    }

    /// An answer that is a JSON list of this type.
    pub(crate) fn json_list<T: ToSchema>(mut self, status: u16, says: &'static str) -> Self {
        let items = reference::<T>(&mut self.schemas);
        let list = ArrayBuilder::new().items(items).into();
        self.answers.push((status, says, Some((JSON, list))));
        self
    }

    /// An answer of bytes.
    pub(crate) fn bytes(mut self, status: u16, says: &'static str) -> Self {
        self.answers.push((status, says, Some((BYTES, binary()))));
        self
    }

    /// An answer of JSON values, one a line.
    pub(crate) fn json_lines(mut self, status: u16, says: &'static str) -> Self {
        let text = ObjectBuilder::new().schema_type(Type::String).into();
        self.answers
            .push((status, says, Some(("application/jsonl", text))));
        self
    }

    /// An answer of plain text.
    pub(crate) fn text(mut self, status: u16, says: &'static str) -> Self {
        let text = ObjectBuilder::new().schema_type(Type::String).into();
        self.answers
            .push((status, says, Some(("text/plain", text))));
        self
    }

    /// A file that never changes under its name, with ranges and conditions.
    pub(crate) fn file(self, says: &'static str) -> Self {
        let mut row = self
            .bytes(200, says)
            .bytes(206, "The range asked for.")
            .answers(304, "The asker has it.")
            .answers(416, "No byte of the range is in the file.");
        row.headers = &["Range", "If-Range", "If-None-Match"];
        row.fails(&[ProblemCode::NotFound])
    }

    /// What may go wrong, beside what may go wrong everywhere.
    pub(crate) fn fails(mut self, codes: &[ProblemCode]) -> Self {
        self.problems.extend_from_slice(codes);
        self
    }

    fn operation(&self) -> Operation {
        let mut operation = OperationBuilder::new()
            .operation_id(Some(self.id()))
            .summary(Some(self.says))
            .tag(if self.path.starts_with("/s/") {
                "between sites"
            } else {
                "site"
            });
        let names = names(&self.path);
        for name in &names {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(*name)
                    .parameter_in(ParameterIn::Path)
                    .required(Required::True)
                    .schema(Some(parameter(name))),
            );
        }
        for (name, says) in &self.queries {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(*name)
                    .parameter_in(ParameterIn::Query)
                    .required(Required::False)
                    .description(Some(*says))
                    .schema(Some(string())),
            );
        }
        for name in self.headers {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(*name)
                    .parameter_in(ParameterIn::Header)
                    .required(Required::False)
                    .schema(Some(string())),
            );
        }
        if let Some((kind, schema)) = &self.takes {
            let content = ContentBuilder::new().schema(Some(schema.clone())).build();
            let body = RequestBodyBuilder::new()
                .content(*kind, content)
                .required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        for scheme in self.who.schemes() {
            let scopes: [&str; 0] = [];
            operation = operation.security(SecurityRequirement::new(*scheme, scopes));
        }
        for (status, says, content) in &self.answers {
            let mut response = ResponseBuilder::new().description(*says);
            if let Some((kind, schema)) = content {
                let content = ContentBuilder::new().schema(Some(schema.clone())).build();
                response = response.content(*kind, content);
            }
            operation = operation.response(status.to_string(), response.build());
        }
        for (status, says) in self.failures(!names.is_empty()) {
            operation = operation.response(status, failure(&says));
        }
        operation
            .response("default", failure("Any other failure."))
            .build()
    }

    /// Statuses of the failures, each with its codes in words.
    fn failures(&self, has_parameters: bool) -> BTreeMap<String, String> {
        let mut codes = self.problems.clone();
        if has_parameters || self.takes.is_some() {
            codes.push(ProblemCode::BadRequest);
        }
        if self.takes.is_some() {
            codes.push(ProblemCode::TooLarge);
        }
        codes.push(ProblemCode::Internal);
        let mut failures = BTreeMap::<String, String>::new();
        for code in codes {
            let says = failures
                .entry(status(code).as_str().to_owned())
                .or_default();
            let name = serde_json::to_string(&code).unwrap_or_default();
            let name = format!("`{}`", name.trim_matches('"'));
            if !says.contains(&name) {
                if !says.is_empty() {
                    says.push_str(", ");
                }
                says.push_str(&name);
            }
        }
        failures
    }

    /// The method and the words of the path.
    fn id(&self) -> String {
        let method = match self.method {
            HttpMethod::Put => "put",
            HttpMethod::Post => "post",
            HttpMethod::Delete => "delete",
            _ => "get",
        };
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        std::iter::once(method)
            .chain(words)
            .collect::<Vec<_>>()
            .join("_")
    }
}

/// Rows until the document is made.
#[derive(Default)]
pub(crate) struct Rows {
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Rows {
    pub(crate) fn add(&mut self, row: Row) {
        let operation = row.operation();
        self.paths
            .add_path_operation(&row.path, vec![row.method], operation);
        self.schemas.extend(row.schemas);
    }

    /// A type that no row names.
    pub(crate) fn schema<T: ToSchema>(&mut self) {
        let mut schemas = Vec::new();
        reference::<T>(&mut schemas);
        self.schemas.extend(schemas);
    }

    pub(crate) fn finish(self) -> (Paths, BTreeMap<String, RefOr<Schema>>) {
        (self.paths, self.schemas)
    }
}

fn reference<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    let name = T::name().into_owned();
    schemas.push((name.clone(), T::schema()));
    RefOr::Ref(Ref::from_schema_name(name))
}

fn failure(says: &str) -> utoipa::openapi::Response {
    let schema = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(says)
        .content(PROBLEM, content)
        .build()
}

fn binary() -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .content_media_type(BYTES)
        .into()
}

fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// The words in braces of a path.
fn names(path: &str) -> Vec<&str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

fn parameter(name: &str) -> RefOr<Schema> {
    use snapshot::id::{CardId, ObjectId, SiteId, UserId};
    match name {
        "user" => UserId::schema(),
        "site" => SiteId::schema(),
        "card" => CardId::schema(),
        "object" | "record" | "release" | "from" | "baseline" => ObjectId::schema(),
        "file" => ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(ReleaseFile::ALL.map(ReleaseFile::name)))
            .into(),
        _ => ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .into(),
    }
}
