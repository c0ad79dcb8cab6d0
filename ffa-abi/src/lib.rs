//! The typed FF-A ABI: function IDs, register layouts, versions, endpoint IDs and status codes

#![no_std]
#![forbid(unsafe_code)]
