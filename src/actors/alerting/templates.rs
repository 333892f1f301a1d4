//! Templates: those that are compiled in, and those of a folder of the user's, which take their places.
//!
//! Invariants: what is printed in a template whose name ends with `.html` is escaped for HTML, in one that ends with
//! `.json` for JSON. A template can read nothing but what it is given, and ends: its steps are limited.
//! How it fails: a template of the user's that cannot be read or parsed, when it is loaded; one that fails with some
//! notification, when that is rendered, and then the compiled-in one takes its place, so that nobody stays uninformed.

use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

use super::words;

/// Steps that a template may take; those that are compiled in need about a thousand an alert.
const FUEL: u64 = 5_000_000;

/// By name.
pub type BuiltIn = &'static [(&'static str, &'static str)];

#[derive(Debug)]
pub struct Templates {
    own: Environment<'static>,
    users: Option<Environment<'static>>,
}

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("the template {} cannot be read: {why}", file.display())]
    File { file: PathBuf, why: std::io::Error },
    #[error("the template {name} is wrong: {why}")]
    Wrong { name: String, why: minijinja::Error },
}

impl Templates {
    /// Files in `folder` with the names of those that are compiled in are used in their stead.
    pub fn load(built_in: BuiltIn, folder: Option<&Path>) -> Result<Self, TemplateError> {
        let own = environment(built_in.iter().map(|(name, text)| (*name, (*text).to_owned())))?;
        let Some(folder) = folder else {
            return Ok(Self { own, users: None });
        };
        let mut found = Vec::new();
        for (name, text) in built_in {
            let file = folder.join(name);
            match std::fs::read_to_string(&file) {
                Ok(text) => found.push((*name, text)),
                Err(why) if why.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
                    found.push((*name, (*text).to_owned()));
                }
                Err(why) => return Err(TemplateError::File { file, why }),
            }
        }
        Ok(Self {
            own,
            users: Some(environment(found.into_iter())?),
        })
    }

    /// What a template makes of `view`.
    pub fn render(&self, name: &str, view: &impl Serialize) -> Result<String, minijinja::Error> {
        let view = Value::from(minijinja::value::Serde(view));
        if let Some(users) = &self.users {
            match users
                .get_template(name)
                .and_then(|template| template.render(&view))
            {
                Ok(text) => return Ok(text),
                Err(error) => {
                    let error = words::line(&error.to_string(), 300);
                    tracing::warn!(
                        template = name,
                        error,
                        "a template failed, the built-in one takes its place"
                    );
                }
            }
        }
        self.own.get_template(name)?.render(view)
    }
}

fn environment(
    templates: impl Iterator<Item = (&'static str, String)>,
) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    // A slip of the pen in a template is told, instead of leaving a hole in every mail.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    for (name, text) in templates {
        environment
            .add_template_owned(name, text)
            .map_err(|why| TemplateError::Wrong {
                name: name.to_owned(),
                why,
            })?;
    }
    Ok(environment)
}
