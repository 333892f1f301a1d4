//! The dashboard, and the pages of the API's documentation: files in the program, nothing from elsewhere.
//!
//! They hold no data, so everybody may load them; what they show they ask of the API with the rights of the one who looks.
//!
//! The dashboard is one page at many addresses, each named in [`endpoints`], so that an address nobody knows is still 404. Its other
//! files have names that change with their content and are kept by browsers for ever. In a program that was built without it
//! (`dashboard/dist` was empty) a plain page takes its place.

use std::borrow::Cow;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Json, Path};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::web::auth::Access;
use crate::web::endpoint::Endpoint;
use crate::web::openapi;
use crate::web::problem::{Kind, Problem};

/// What `npm run build` made. A debug build reads it from the disk each time.
#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Dashboard;

const PLAIN: &str = include_str!("../page/index.html");
const FOREVER: &str = "public, max-age=31536000, immutable";

macro_rules! file {
    ($name:ident, $file:literal, $kind:literal) => {
        async fn $name() -> HttpResponse {
            page($kind, include_str!(concat!("../page/", $file)))
        }
    };
}

file!(docs, "docs.html", "text/html; charset=utf-8");
file!(style, "page.css", "text/css; charset=utf-8");
file!(script, "page.js", "text/javascript; charset=utf-8");
file!(docs_script, "docs.js", "text/javascript; charset=utf-8");

pub fn endpoints() -> [Endpoint; 15] {
    let public = |path| Endpoint::new(path, Access::Public);
    [
        public("/").get(index),
        public("/sensors").get(index),
        public("/sensors/{id}").get(index),
        public("/alerts").get(index),
        public("/actors").get(index),
        public("/sources").get(index),
        public("/dead-letters").get(index),
        public("/favicon.svg").get(icon),
        public("/licenses.md").get(licenses),
        public("/assets/{file}").get(asset),
        public("/page/page.css").get(style),
        public("/page/page.js").get(script),
        public("/page/docs.js").get(docs_script),
        public("/api/docs").get(docs),
        public("/api/openapi.json").get(document),
    ]
}

async fn index() -> HttpResponse {
    match Dashboard::get("index.html") {
        Some(file) => page("text/html; charset=utf-8", file.data),
        None => page("text/html; charset=utf-8", PLAIN),
    }
}

async fn icon() -> Result<HttpResponse, Problem> {
    Ok(page("image/svg+xml", built("favicon.svg")?.data))
}

/// The licenses of what the dashboard is made of.
async fn licenses() -> Result<HttpResponse, Problem> {
    Ok(page("text/markdown; charset=utf-8", built("licenses.md")?.data))
}

async fn asset(file: Path<String>) -> Result<HttpResponse, Problem> {
    let file = file.into_inner();
    if file.contains(['/', '\\']) {
        return Err(missing());
    }
    let found = built(&format!("assets/{file}"))?;
    Ok(HttpResponse::Ok()
        .content_type(content_type(&file))
        .insert_header((header::CACHE_CONTROL, FOREVER))
        .body(found.data.bytes()))
}

async fn document() -> Json<&'static utoipa::openapi::OpenApi> {
    Json(openapi::document())
}

fn built(path: &str) -> Result<EmbeddedFile, Problem> {
    Dashboard::get(path).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::new(Kind::NotFound, "the dashboard has no such file")
}

fn page(kind: &'static str, body: impl AsBody) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(body.bytes())
}

/// What is in the program is sent without a copy of it.
trait AsBody {
    fn bytes(self) -> Bytes;
}

impl AsBody for &'static str {
    fn bytes(self) -> Bytes {
        Bytes::from_static(self.as_bytes())
    }
}

impl AsBody for Cow<'static, [u8]> {
    fn bytes(self) -> Bytes {
        match self {
            Cow::Borrowed(data) => Bytes::from_static(data),
            Cow::Owned(data) => data.into(),
        }
    }
}

/// Of the kinds of files that the build makes.
fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "woff2" => "font/woff2",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}
