#include "gossip/algorithms.h"

#include <fmt/format.h>

#include "gossip/mixers/mixers.h"
#include "gossip/requirements.h"

namespace gossamer {
namespace {

constexpr Algorithm kAlgorithms[] = {
    {.name = "all-reduce",
     .summary = "Exact average of the gradients by a ring of slices; equals one big batch under any optimizer.",
     .source = "Patarasuk and Yuan 2009 (ring all-reduce)",
     .exchanges = Exchanges::gradient,
     .plain_floats = true,
     .make = make_all_reduce},
    {.name = "all-reduce-halving-doubling",
     .summary = "The same average in 2 log2 n phases, for a power of two of peers.",
     .source = "Thakur, Rabenseifner and Gropp 2005",
     .exchanges = Exchanges::gradient,
     .shape = Shape::power_of_two,
     .plain_floats = true,
     .make = make_halving_doubling},
    {.name = "parameter-server",
     .summary = "The hub of a star averages all gradients and sends the average back.",
     .source = "Li et al., OSDI 2014 (synchronous; the hub is a peer)",
     .exchanges = Exchanges::gradient,
     .shape = Shape::star,
     .make = make_parameter_server},
    {.name = "parameter-server-models",
     .summary = "The hub of a star averages all models and sends the average back.",
     .source = "Li et al., OSDI 2014 (synchronous; the hub is a peer)",
     .shape = Shape::star,
     .keeps_mean = true,
     .make = make_parameter_server_models},
    {.name = "parameter-server-async",
     .summary = "Leaves push what their steps did to the hub of a star and take its model back; nobody waits for another leaf.",
     .source = "Li et al., OSDI 2014; Dean et al., NeurIPS 2012 (Downpour SGD)",
     .shape = Shape::star,
     .asynchronous = true,
     .elastic = true,
     .make = make_parameter_server_async},
    {.name = "d-psgd",
     .summary = "Every peer averages its model with its neighbours' models.",
     .source = "Lian et al., NeurIPS 2017, arXiv 1705.09056",
     .weights = Weights::doubly,
     .keeps_mean = true,
     .rounds_overlap = true,
     .elastic = true,
     .make = make_dpsgd},
    {.name = "choco-sgd",
     .summary = "Gossip on compressed differences to replicas that both ends keep.",
     .source = "Koloskova et al., ICML 2019 and ICLR 2020, arXiv 1902.00340 and 1907.09356",
     .weights = Weights::doubly,
     .keeps_mean = true,
     .lossy_codecs = true,
     .elastic = true,
     .make = make_choco},
    {.name = "deep-squeeze",
     .summary = "Gossip on compressed models; each peer adds to the next model what compression dropped of the last.",
     .source = "Tang et al. 2019, arXiv 1907.07346",
     .weights = Weights::symmetric,
     .keeps_mean = true,
     .lossy_codecs = true,
     .elastic = true,
     .make = make_deep_squeeze},
    {.name = "power-gossip",
     .summary = "Neighbours exchange low-rank products of their models, a power iteration on each edge's difference.",
     .source = "Vogels et al., NeurIPS 2020, arXiv 2008.01425",
     .weights = Weights::symmetric,
     .keeps_mean = true,
     .plain_floats = true,
     .elastic = true,
     .make = make_power_gossip},
    {.name = "ad-psgd",
     .summary = "Each peer averages with a random neighbour whenever it likes; nobody waits.",
     .source = "Lian et al., ICML 2018, arXiv 1710.06952",
     .keeps_mean = true,
     .asynchronous = true,
     .elastic = true,
     .make = make_ad_psgd},
    {.name = "sgp",
     .summary = "Push-sum: models and weights flow along directed edges, each peer trains their ratio.",
     .source = "Assran et al., ICML 2019, arXiv 1811.10792",
     .weights = Weights::columns,
     .rounds_overlap = true,
     .elastic = true,
     .make = make_sgp},
    {.name = "relay-sgd",
     .summary = "Sums of models are relayed through a tree: a uniform average, each model as old as it is far.",
     .source = "Vogels et al., NeurIPS 2021",
     .shape = Shape::tree,
     .elastic = true,
     .make = make_relay_sgd},
    {.name = "gradient-tracking",
     .summary = "Every peer tracks the average gradient and steps along it.",
     .source = "Pu and Nedic, Math. Programming 2021; Xu et al., CDC 2015",
     .weights = Weights::doubly,
     .keeps_mean = true,
     .elastic = true,
     .own_momentum = true,
     .make = make_gradient_tracking},
    {.name = "d2",
     .summary = "D-PSGD with each peer's last correction carried over, which cancels how its data differ from the others'.",
     .source = "Tang et al., ICML 2018",
     .weights = Weights::symmetric,
     .shape = Shape::fixed,
     .keeps_mean = true,
     .make = make_d2},
    {.name = "qg-dsgdm",
     .summary = "D-PSGD with a momentum that follows the mixed model instead of the local gradient.",
     .source = "Lin et al., ICML 2021, arXiv 2102.04761",
     .weights = Weights::doubly,
     .keeps_mean = true,
     .elastic = true,
     .own_momentum = true,
     .make = make_qg_dsgdm},
    {.name = "clipped-gossip",
     .summary = "D-PSGD in which no neighbour moves a peer further than a bound.",
     .source = "He, Karimireddy and Jaggi 2022, arXiv 2202.01545",
     .weights = Weights::doubly,
     .elastic = true,
     .whole_vectors = true,
     .make = make_clipped_gossip},
};

}  // namespace

std::span<const Algorithm> algorithms() { return kAlgorithms; }

const Algorithm* find_algorithm(std::string_view name) {
  for (const Algorithm& algorithm : kAlgorithms)
    if (algorithm.name == name) return &algorithm;
  return nullptr;
}

Result<std::unique_ptr<Mixer>> make_mixer(std::string_view name, const MixerSetup& setup) {
  const Algorithm* algorithm = find_algorithm(name);
  if (!algorithm) return fail(Errc::not_found, fmt::format("unknown algorithm '{}'", name));
  GOSSAMER_TRY(check_requirements(*algorithm, setup));
  return algorithm->make(setup);
}

}  // namespace gossamer
