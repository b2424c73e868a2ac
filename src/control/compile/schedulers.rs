//! Scheduler tables, rebuilt only when what they are built from changed: a Maglev table costs milliseconds.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::valid::{self, Scheduler};
use crate::tables::{
    Backend, BackendId, Maglev, MaglevMember, RoundRobin, SchedulerTable, ServiceId, Weighted,
};

/// Everything that a table depends on.
#[derive(Debug, PartialEq, Eq)]
struct Ingredients {
    scheduler: Scheduler,
    maglev_table_size: u32,
    members: Vec<(BackendId, u32)>,
}

/// The tables of the latest snapshot.
#[derive(Debug, Default)]
pub(super) struct Schedulers(HashMap<ServiceId, (Ingredients, Arc<SchedulerTable>)>);

impl Schedulers {
    /// The table of a service: the one of the snapshot before, if it would come out the same.
    pub(super) fn table(
        &mut self,
        id: ServiceId,
        service: &valid::Service,
        takers: &[(&Backend, u8)],
    ) -> Arc<SchedulerTable> {
        let ingredients = Ingredients {
            scheduler: service.scheduler,
            maglev_table_size: service.maglev_table_size,
            members: takers
                .iter()
                .map(|(backend, share)| (backend.id, backend.weight * u32::from(*share)))
                .collect(),
        };
        if let Some((before, table)) = self.0.get(&id)
            && *before == ingredients
        {
            return Arc::clone(table);
        }
        let table = Arc::new(build(&ingredients, takers));
        self.0.insert(id, (ingredients, Arc::clone(&table)));
        table
    }

    /// Forgets the tables of services that are gone.
    pub(super) fn retain(&mut self, services: &[ServiceId]) {
        if self.0.len() > services.len() {
            let services: std::collections::HashSet<_> = services.iter().collect();
            self.0.retain(|id, _| services.contains(id));
        }
    }
}

fn build(ingredients: &Ingredients, takers: &[(&Backend, u8)]) -> SchedulerTable {
    match ingredients.scheduler {
        Scheduler::RoundRobin => SchedulerTable::RoundRobin(RoundRobin::equal(&ingredients.members)),
        Scheduler::WeightedRoundRobin => {
            SchedulerTable::RoundRobin(RoundRobin::weighted(&ingredients.members))
        }
        Scheduler::LeastConnections
        | Scheduler::WeightedLeastConnections
        | Scheduler::LeastResponseTime
        | Scheduler::Resource
        | Scheduler::TwoChoices => SchedulerTable::LeastConnections(Weighted::of(&ingredients.members)),
        Scheduler::Maglev | Scheduler::SourceHash | Scheduler::FlowHash => {
            let member = |(backend, share): &(&Backend, u8)| MaglevMember {
                id: backend.id,
                identity: backend.address.to_string(),
                weight: backend.weight * u32::from(*share),
            };
            let members = takers.iter().map(member).collect();
            SchedulerTable::Maglev(Maglev::build(ingredients.maglev_table_size, members))
        }
    }
}
