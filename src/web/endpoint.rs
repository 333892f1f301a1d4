//! One path, who may use it, and what its methods do.
//!
//! Invariants: an endpoint cannot be made without its [`Access`]. A path that exists answers a wrong method with 405 and `Allow`;
//! HEAD goes wherever GET does.

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, header};
use actix_web::middleware::from_fn;
use actix_web::{FromRequest, Handler, Responder, Route, guard, web};

use super::auth::{self, Access};
use super::problem::{Kind, Problem};

pub struct Endpoint {
    pub path: &'static str,
    pub access: Access,
    methods: Vec<(Method, Route)>,
    /// What reading asks for, where it is less.
    reading: Option<Access>,
}

impl Endpoint {
    pub fn new(path: &'static str, access: Access) -> Self {
        Self {
            path,
            access,
            methods: Vec::new(),
            reading: None,
        }
    }

    pub fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler)
    }

    pub fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, handler)
    }

    pub fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::DELETE, handler)
    }

    fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.methods.push((method, web::to(handler)));
        self
    }

    /// Has GET ask for another role.
    pub fn read_by(mut self, access: Access) -> Self {
        self.reading = Some(access);
        self
    }

    pub fn access_to(&self, method: &Method) -> Access {
        access_to(self.access, self.reading, method)
    }

    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.iter().map(|(method, _)| method)
    }

    pub fn register(self, config: &mut web::ServiceConfig) {
        let mut allowed: Vec<&str> = self.methods().map(Method::as_str).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        let allow = allowed.join(", ");
        let mut resource = web::resource(self.path);
        for (method, route) in self.methods {
            let head = method == Method::GET;
            let route = route.guard(guard::fn_guard(move |context| {
                let asked = &context.head().method;
                *asked == method || (head && *asked == Method::HEAD)
            }));
            resource = resource.route(route);
        }
        let refuse = move || {
            let detail = format!("this path takes {allow}");
            let problem = Problem::new(Kind::MethodNotAllowed, detail).header(header::ALLOW, allow.clone());
            async move { Err::<&str, _>(problem) }
        };
        let (access, reading) = (self.access, self.reading);
        config.service(resource.default_service(web::to(refuse)).wrap(from_fn(
            move |request: ServiceRequest, next| {
                let access = access_to(access, reading, request.method());
                auth::require(access, request, next)
            },
        )));
    }
}

fn access_to(access: Access, reading: Option<Access>, method: &Method) -> Access {
    match reading {
        Some(reading) if [Method::GET, Method::HEAD].contains(method) => reading,
        _ => access,
    }
}
