//! The page at `/` and the pages of the API's documentation: files in the program, nothing from elsewhere.
//!
//! They hold no data, so everybody may load them; what they show they ask of the API with the rights of the one who looks.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Json;

use crate::web::auth::Access;
use crate::web::endpoint::Endpoint;
use crate::web::openapi;

macro_rules! file {
    ($name:ident, $file:literal, $kind:literal) => {
        async fn $name() -> HttpResponse {
            HttpResponse::Ok()
                .content_type($kind)
                .insert_header((header::CACHE_CONTROL, "no-cache"))
                .body(include_str!(concat!("../page/", $file)))
        }
    };
}

file!(index, "index.html", "text/html; charset=utf-8");
file!(docs, "docs.html", "text/html; charset=utf-8");
file!(style, "page.css", "text/css; charset=utf-8");
file!(script, "page.js", "text/javascript; charset=utf-8");
file!(docs_script, "docs.js", "text/javascript; charset=utf-8");

pub fn endpoints() -> [Endpoint; 6] {
    [
        Endpoint::new("/", Access::Public).get(index),
        Endpoint::new("/page/page.css", Access::Public).get(style),
        Endpoint::new("/page/page.js", Access::Public).get(script),
        Endpoint::new("/page/docs.js", Access::Public).get(docs_script),
        Endpoint::new("/api/docs", Access::Public).get(docs),
        Endpoint::new("/api/openapi.json", Access::Public).get(document),
    ]
}

async fn document() -> Json<&'static utoipa::openapi::OpenApi> {
    Json(openapi::document())
}
