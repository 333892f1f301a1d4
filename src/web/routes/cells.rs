//! The cells of every sensor with their names, for the grid that shows them all. What changes comes over `/ws/realtime`.

use std::collections::HashMap;

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde::Serialize;

use crate::actors::hub::cells::{Cell, Columns};
use crate::domain::{SensorKey, Tags};
use crate::web::auth::{Access, Role};
use crate::web::endpoint::Endpoint;
use crate::web::params::Params;
use crate::web::problem::Problem;
use crate::web::state::AppState;

/// Sensors that are read at once, so that nobody who resolves a name waits for long.
const PAGE: usize = 1_000;

pub fn endpoints() -> [Endpoint; 1] {
    [Endpoint::new("/api/sensors/cells", Access::Local(Role::Viewer)).get(cells)]
}

/// Columns of the same length, in the order of the numbers.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct CellsBody {
    /// Version of the names: asked for before they were read.
    names: u64,
    sensor_id: Vec<String>,
    /// With `group_by`: the values of that tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    /// With `group_by`: a place in `groups`; -1 for a sensor without that tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Vec<i64>>,
    #[serde(flatten)]
    cells: Columns,
}

/// Every sensor in a few numbers: what it does, the score of its newest anomaly, when it was heard.
#[utoipa::path(get, path = "/api/sensors/cells", tag = "Sensors",
    params(
        ("group_by" = Option<String>, Query, description = "A tag: its values are the groups"),
        ("q" = Option<String>, Query, description = "Part of the sensor's id, in any case"),
        ("tag" = Option<Vec<String>>, Query, description = "`key=value`; may be given more than once, all must match"),
    ),
    responses((status = 200, description = "Columns of the same length", body = CellsBody)))]
pub async fn cells(state: Data<AppState>, request: HttpRequest) -> Result<Json<CellsBody>, Problem> {
    let mut params = Params::read(&request, &["group_by", "q", "tag"])?;
    let keep = super::sensors::keep(&mut params);
    let group_by = params.text("group_by");
    params.finish()?;
    let registry = state.registry();
    let at = u32::try_from(state.now().0.div_euclid(1_000_000)).unwrap_or(0);
    let (mut entries, mut heard) = (Vec::new(), Vec::new());
    state.live.live.board.read(&mut entries);
    state.statistics.heard_to(&mut heard);
    let mut body = CellsBody {
        names: registry.version(),
        cells: Columns {
            at,
            ..Columns::default()
        },
        ..CellsBody::default()
    };
    let mut groups = group_by.map(Groups::new);
    let mut last: Option<SensorKey> = None;
    loop {
        let page = registry.names(last, PAGE, &keep, |key, id, tags| {
            let place = key.0 as usize;
            let entry = entries.get(place).copied().unwrap_or_default();
            let cell = Cell::new(entry, heard.get(place).copied().unwrap_or_default(), at);
            body.cells.push(key, cell);
            body.sensor_id.push(id.to_owned());
            if let Some(groups) = &mut groups {
                groups.add(tags);
            }
        });
        last = page.last;
        if page.count < PAGE {
            break;
        }
        // A hundred thousand take a while, in which others may be served.
        tokio::task::yield_now().await;
    }
    if let Some(groups) = groups {
        (body.groups, body.group) = (Some(groups.names), Some(groups.of));
    }
    Ok(Json(body))
}

struct Groups {
    tag: String,
    names: Vec<String>,
    places: HashMap<String, i64>,
    of: Vec<i64>,
}

impl Groups {
    fn new(tag: String) -> Self {
        Self {
            tag,
            names: Vec::new(),
            places: HashMap::new(),
            of: Vec::new(),
        }
    }

    fn add(&mut self, tags: &Tags) {
        let place = match tags.get(&self.tag) {
            None => -1,
            Some(value) => match self.places.get(value) {
                Some(place) => *place,
                None => {
                    let place = self.names.len() as i64;
                    self.places.insert(value.clone(), place);
                    self.names.push(value.clone());
                    place
                }
            },
        };
        self.of.push(place);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn groups_are_numbered_as_they_come() {
        let mut groups = Groups::new("site".to_owned());
        for site in ["b", "a", "", "b"] {
            let tags = BTreeMap::from([("site".to_owned(), site.to_owned())]);
            groups.add(&tags);
        }
        groups.add(&BTreeMap::new());
        assert_eq!((groups.names.len(), groups.of), (3, vec![0, 1, 2, 0, -1]));
    }
}
