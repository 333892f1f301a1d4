//! The OpenAPI document, generated from the handlers.

use std::sync::LazyLock;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, Info, OpenApi};

use super::routes;

/// The document; made when it is first asked for.
pub fn document() -> &'static OpenApi {
    static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(build);
    &DOCUMENT
}

fn build() -> OpenApi {
    let mut document = routes::paths();
    let mut info = Info::new("Sensorhive", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Times are RFC 3339 in UTC. Lists come in pages: give `next` back as `cursor`. Errors are problems (RFC 9457). \
         On a loopback address only `/api/admin` needs a token; elsewhere reading needs a viewer's, ingest an operator's."
            .to_owned(),
    );
    document.info = info;
    let components = document
        .components
        .take()
        .map_or_else(ComponentsBuilder::new, Into::into);
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components = Some(components.security_scheme("token", bearer).build());
    let none = Vec::<String>::new();
    document.security = Some(vec![
        SecurityRequirement::default(),
        SecurityRequirement::new("token", none),
    ]);
    document
}
