//! End-to-end tests. Run with `make e2e`: one after the other, on the cluster of `$KUBECONFIG`.
//!
//! Names are ordered: what removes and reinstalls the mesh comes last.

mod a_bookinfo;
mod a_install;
mod b_bad_input;
mod b_customisation;
mod b_drift;
mod b_old_resources;
mod b_operator_changes;
mod b_other_writers;
mod b_plans;
mod b_revisions;
mod b_rights;
mod b_status;
mod c_canary;
mod c_difficult_pods;
mod c_rolling_restart;
mod d_api_server_away;
mod d_control_plane_away;
mod e_adoption;
mod e_command_line;
mod e_lifecycle;
