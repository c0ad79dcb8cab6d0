//! An FF-A mediator for hypervisors: seam traits, guest calls and teardown

#![no_std]
#![forbid(unsafe_code)]
