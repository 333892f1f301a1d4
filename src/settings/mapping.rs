//! `[sources.NAME.mapping]`: where the fields of payloads in another form are, as JSON pointers.
//!
//! Invariants: settings that exist can be followed: they have `value`, or `metrics`, and nothing that goes only with the other.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decode::{
    JsonMapping, MAX_FLAT_METRICS, MAX_TAGS, Pointer, PointerMapping, Pointers, TimeUnit, TopicPattern,
    Values, check_tag_name,
};
use crate::domain::{MetricName, SensorId};

/// What the settings of a source say of its payloads. Each kind of source has those of these keys that make sense for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PayloadSettings<'s> {
    pub default_sensor: Option<&'s SensorId>,
    pub default_metric: Option<&'s MetricName>,
    pub mapping: Option<&'s MappingSettings>,
    pub topics: &'s [TopicPattern],
}

impl PayloadSettings<'_> {
    /// As the decoder takes them. Without `default_metric` a metric that nothing names is `value`.
    pub fn json(&self, max_items: usize) -> JsonMapping {
        let base = JsonMapping::default();
        JsonMapping {
            default_sensor: self.default_sensor.cloned(),
            default_metric: self.default_metric.cloned().or(base.default_metric),
            pointers: self.mapping.map(|mapping| PointerMapping::new(&mapping.pointers)),
            topics: self.topics.to_vec(),
            max_items,
            ..base
        }
    }
}

/// The table, as it is written, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct MappingSettings {
    written: Written,
    pointers: Pointers,
}

impl MappingSettings {
    pub fn pointers(&self) -> &Pointers {
        &self.pointers
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor_id: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Pointer>,
    #[serde(default)]
    timestamp_unit: TimeUnit,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Pointer>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<TagName, Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<BTreeMap<MetricName, Pointer>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct TagName(String);

impl TryFrom<String> for TagName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        check_tag_name(&name).map(|()| TagName(name))
    }
}

impl<'de> Deserialize<'de> for MappingSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let pointers = written.pointers()?;
        Ok(MappingSettings { written, pointers })
    }
}

impl Serialize for MappingSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

impl Written {
    fn pointers<E: Error>(&self) -> Result<Pointers, E> {
        if self.tags.len() > MAX_TAGS {
            return Err(E::custom(format!("has more than {MAX_TAGS} tags")));
        }
        if self.items.as_ref().is_some_and(Pointer::is_from_root) {
            return Err(E::custom(
                "has `items` with `root:`, but it starts at the root anyway: leave that out",
            ));
        }
        Ok(Pointers {
            items: self.items.clone(),
            sensor_id: self.sensor_id.clone(),
            values: self.values()?,
            timestamp: self.timestamp.clone(),
            timestamp_unit: self.timestamp_unit,
            quality: self.quality.clone(),
            tags: self
                .tags
                .iter()
                .map(|(name, pointer)| (name.0.clone(), pointer.clone()))
                .collect(),
        })
    }

    fn values<E: Error>(&self) -> Result<Values<Pointer>, E> {
        let Some(metrics) = &self.metrics else {
            return Ok(Values::One {
                metric: self.metric.clone(),
                value: self.value.clone().ok_or_else(|| E::missing_field("value"))?,
                unit: self.unit.clone(),
            });
        };
        for (name, given) in [
            ("value", &self.value),
            ("metric", &self.metric),
            ("unit", &self.unit),
        ] {
            if given.is_some() {
                return Err(E::custom(format!(
                    "has both `metrics` and `{name}`: one metric, or several"
                )));
            }
        }
        match metrics.len() {
            0 => Err(E::custom("has no metric in `metrics`")),
            count if count > MAX_FLAT_METRICS => {
                Err(E::custom(format!("has more than {MAX_FLAT_METRICS} metrics")))
            }
            _ => Ok(Values::Several(metrics.clone().into_iter().collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::settings::Origin;
    use crate::settings::tree;

    /// As a source would have it, read the way that all settings are.
    fn read(text: &str) -> Result<MappingSettings, (String, String)> {
        let node = tree::preset(text, Origin::Default).unwrap();
        let sources = BTreeMap::<String, MappingSettings>::deserialize(&node);
        sources
            .map(|mut sources| sources.remove("mapping").unwrap())
            .map_err(|error| {
                let key = error.at.map(|(key, _)| key).unwrap_or_default();
                (key, error.message)
            })
    }

    const WHOLE: &str = r#"
        [mapping]
        items = "/data/rows"
        sensor_id = "root:/device/id"
        metric = "/type"
        value = "/v"
        unit = "/u"
        timestamp = "/ts"
        timestamp_unit = "ms"
        quality = "/q"
        tags = { site = "root:/site", "a/b" = "/line" }
    "#;

    #[test]
    fn what_is_written_is_read_and_shown_again() {
        let settings = read(WHOLE).unwrap();
        let pointers = settings.pointers();
        assert_eq!(pointers.items.as_ref().unwrap().as_str(), "/data/rows");
        assert_eq!((pointers.timestamp_unit, pointers.tags.len()), (TimeUnit::Ms, 2));
        let shown = toml::to_string(&BTreeMap::from([("mapping", &settings)])).unwrap();
        assert_eq!(read(&shown), Ok(settings));

        let several = read("[mapping]\nmetrics = { t = '/t', h = '/air/h' }").unwrap();
        assert!(matches!(&several.pointers().values, Values::Several(metrics) if metrics.len() == 2));
        let shown = toml::to_string(&BTreeMap::from([("mapping", &several)])).unwrap();
        assert_eq!(read(&shown), Ok(several));
    }

    #[test]
    fn a_mistake_is_named_with_its_key() {
        let no_pointer = "must be a JSON pointer, which starts with `/`, such as \"/device/id\"";
        for (text, key, message) in [
            ("sensor_id = '/s'", "mapping", "needs the key `value`"),
            ("value = 'v'", "mapping.value", no_pointer),
            (
                "value = 7",
                "mapping.value",
                "must be a string, but is integer `7`",
            ),
            (
                "value = '/a~2'",
                "mapping.value",
                "has a `~` that is neither `~0`, which means `~`, nor `~1`, which means `/`",
            ),
            ("value = '/v'\ntags = { a = 'b' }", "mapping.tags.a", no_pointer),
            (
                "value = '/v'\ntags = { '' = '/b' }",
                "mapping.tags.",
                "is a tag without a name",
            ),
            ("metrics = { t = 't' }", "mapping.metrics.t", no_pointer),
            ("metrics = { '' = '/t' }", "mapping.metrics.", "is empty"),
            ("metrics = {}", "mapping", "has no metric in `metrics`"),
            (
                "metrics = { t = '/t' }\nvalue = '/v'",
                "mapping",
                "has both `metrics` and `value`: one metric, or several",
            ),
            (
                "metrics = { t = '/t' }\nunit = '/u'",
                "mapping",
                "has both `metrics` and `unit`: one metric, or several",
            ),
            (
                "value = '/v'\nitems = 'root:/a'",
                "mapping",
                "has `items` with `root:`, but it starts at the root anyway: leave that out",
            ),
            (
                "value = '/v'\ntimestamp_unit = 'm'",
                "mapping.timestamp_unit",
                "must be one of `auto`, `s`, `ms`, `us`, `ns`, but is \"m\"",
            ),
        ] {
            let found = read(&format!("[mapping]\n{text}")).expect_err(text);
            assert_eq!(found, (key.to_owned(), message.to_owned()), "{text}");
        }
        let (key, message) = read("[mapping]\nvalue = '/v'\ncolour = '/c'").unwrap_err();
        assert!(
            key == "mapping.colour" && message.starts_with("is not known; allowed here: `items`"),
            "{message}"
        );
    }

    #[test]
    fn what_is_not_said_is_as_ever() {
        let mapping = PayloadSettings::default().json(7);
        assert_eq!(
            mapping.default_metric.as_ref().map(MetricName::as_str),
            Some("value")
        );
        assert!(mapping.default_sensor.is_none() && mapping.pointers.is_none() && mapping.topics.is_empty());
        assert_eq!(mapping.max_items, 7);
    }
}
