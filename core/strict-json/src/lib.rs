#![doc = include_str!("../README.md")]

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde_json::Value;

/// A `T` in which every struct, at every level, was an object in the JSON.
///
/// This does not reach into enums that serde buffers in memory first. For internally tagged enums use [`tagged`]; instead
/// of an `untagged` enum, deserialize a struct with all its fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strict<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Objects(deserializer)).map(Self)
    }
}

/// Deserializes a JSON text strictly.
///
/// # Errors
/// The text is not JSON, or not a valid `T`.
pub fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json).map(|Strict(value)| value)
}

/// Deserializes a list of internally tagged enums from objects only, for use with `deserialize_with`.
///
/// # Errors
/// An item is not an object, or not a valid `T`.
pub fn tagged<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<serde_json::Map<_, _>>::deserialize(deserializer)?;
    objects.into_iter().map(|object| T::deserialize(Value::Object(object)).map_err(de::Error::custom)).collect()
}

/// Forwards everything to the wrapped deserializer, but requests a map where a struct is requested. The visitors, seeds and
/// accessors that it hands out are wrapped in the same way.
struct Objects<X>(X);

/// The methods of a deserializer that take a visitor only.
macro_rules! forward_to_deserializer {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(Objects(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Objects<D> {
    type Error = D::Error;

    forward_to_deserializer! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Objects(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Objects(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, Objects(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, Objects(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Objects(visitor))
    }
}

/// The methods of a visitor that take a plain value.
macro_rules! forward_to_visitor {
    ($($method:ident($value:ty))*) => {$(
        fn $method<E: de::Error>(self, value: $value) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Objects<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(f)
    }

    forward_to_visitor! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Objects(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Objects(deserializer))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Objects(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Objects(entries))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Objects(variant))
    }
}

impl<'de, S: de::DeserializeSeed<'de>> de::DeserializeSeed<'de> for Objects<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Objects(deserializer))
    }
}

impl<'de, A: de::SeqAccess<'de>> de::SeqAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Objects(seed))
    }
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn next_key_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(Objects(seed))
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Objects(seed))
    }
}

impl<'de, A: de::EnumAccess<'de>> de::EnumAccess<'de> for Objects<A> {
    type Error = A::Error;
    type Variant = Objects<A::Variant>;

    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0.variant_seed(Objects(seed)).map(|(name, variant)| (name, Objects(variant)))
    }
}

impl<'de, A: de::VariantAccess<'de>> de::VariantAccess<'de> for Objects<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Objects(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Objects(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(Map(visitor))
    }
}

/// The fields of a struct variant, deserialized as a map.
struct Map<V>(V);

impl<'de, V: Visitor<'de>> de::DeserializeSeed<'de> for Map<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(Objects(self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde_json::json;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        a: u8,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Unit,
        Newtype(Inner),
        Tuple(u8, Inner),
        Struct { inner: Inner },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer<T> {
        field: T,
    }

    fn read<T: DeserializeOwned>(json: Value) -> Result<T, String> {
        from_slice(json.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    /// An object in place of `X` is accepted and an array is rejected; serde alone accepts both.
    fn object_only<T: DeserializeOwned + Debug>(json: &str) {
        let with = |inner: &str| json.replace('X', inner);
        for inner in ["{\"a\":1}", "[1]"] {
            serde_json::from_str::<T>(&with(inner)).unwrap();
        }
        from_slice::<T>(with("{\"a\":1}").as_bytes()).unwrap();
        let rejected = from_slice::<T>(with("[1]").as_bytes()).unwrap_err().to_string();
        assert!(rejected.starts_with("invalid type: sequence, expected struct Inner"), "{json}: {rejected}");
    }

    #[test]
    fn a_struct_must_be_an_object_at_every_level() {
        object_only::<Inner>("X");
        object_only::<Option<Inner>>("X");
        object_only::<Vec<Inner>>("[{\"a\":2},X]");
        object_only::<(u8, Inner)>("[1,X]");
        object_only::<BTreeMap<String, Inner>>("{\"k\":X}");
        object_only::<Outer<Box<Inner>>>("{\"field\":X}");
        object_only::<Outer<Option<Inner>>>("{\"field\":X}");
        object_only::<Choice>("{\"newtype\":X}");
        object_only::<Choice>("{\"tuple\":[1,X]}");
        object_only::<Choice>("{\"struct\":{\"inner\":X}}");
        assert!(read::<Outer<Inner>>(json!([{ "a": 1 }])).unwrap_err().contains("expected struct Outer"));
        assert!(read::<Choice>(json!({ "struct": [{ "a": 1 }] })).unwrap_err().contains("expected struct variant"));
    }

    #[test]
    fn a_tagged_enum_in_a_list_must_be_an_object() {
        #[derive(Debug, Deserialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            A { inner: u8 },
        }

        #[derive(Debug, Deserialize)]
        struct List {
            #[serde(deserialize_with = "tagged")]
            list: Vec<Tagged>,
        }

        let List { list } = read(json!({ "list": [{ "kind": "A", "inner": 1 }] })).unwrap();
        assert!(matches!(list[..], [Tagged::A { inner: 1 }]));
        let error = read::<List>(json!({ "list": [["A", 1]] })).unwrap_err();
        assert!(error.starts_with("invalid type: sequence, expected a map"), "{error}");
    }

    #[test]
    fn everything_else_is_deserialized_as_by_serde() {
        let all = json!({"n": null, "t": true, "i": -1, "f": 1.5, "s": "a\n", "l": [[], {}], "o": {"x": 1}});
        assert_eq!(read::<Value>(all.clone()), Ok(all));
        assert_eq!(read::<Choice>(json!("unit")), Ok(Choice::Unit));
        assert!(read::<Choice>(json!({ "unit": 1 })).unwrap_err().contains("expected unit"));
        assert_eq!(read::<(u64, i64, f64, char)>(json!([u64::MAX, i64::MIN, 0.5, "ä"])).unwrap().3, 'ä');
        assert_eq!(read::<Outer<Option<u8>>>(json!({ "field": null })), Ok(Outer { field: None }));
        assert_eq!(read::<Outer<uuid::Uuid>>(json!({ "field": uuid::Uuid::nil() })).unwrap().field, uuid::Uuid::nil());
        assert!(read::<Outer<u8>>(json!({ "field": 1, "more": 2 })).unwrap_err().contains("unknown field `more`"));
        assert!(from_slice::<Inner>(b"{\"a\":1} x").is_err(), "trailing text");
    }

    #[test]
    fn raw_numbers_are_preserved() {
        let Outer { field } = from_slice::<Outer<Box<RawValue>>>(b"{\"field\": 1.500}").unwrap();
        assert_eq!(field.get(), "1.500");
        let Outer { field } = from_slice::<Outer<&RawValue>>(b"{\"field\": [1.0 ]}").unwrap();
        assert_eq!(field.get(), "[1.0 ]");
    }
}
