//! datatypes
