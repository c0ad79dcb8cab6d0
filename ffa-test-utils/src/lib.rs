//! A modelled FF-A secure world and hypervisor, with an oracle, to test mediators against

#![no_std]
#![forbid(unsafe_code)]
