//! Tests of the configuration, as data: input, expected text. The expected texts were measured with a real
//! valkey-server 8.1.

mod files;
mod load;
mod reference;
mod set_get;
mod table;
