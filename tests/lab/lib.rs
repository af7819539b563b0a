//! The lab: hosts in namespaces and in virtual machines.
