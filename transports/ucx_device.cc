// What this UCX knows of memory that is not the host's.
#include "transports/ucx.h"
#include "transports/ucx_core.h"
#include "transports/ucx_printed.h"

namespace gossamer {
namespace ucx {
namespace {

bool knows_cuda(ucp_context_h context) {
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  return ucp_context_query(context, &attributes) == UCS_OK && (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
}

}  // namespace

Result<> expect_cuda(ucp_context_h context, const std::string& tls) {
  if (knows_cuda(context)) return {};
  const std::string what = "UCX " + ucx_version() + " knows no CUDA memory";
  if (ucx_knows_cuda("all"))
    return fail(Errc::unsupported, what + " by the transports '" + tls + "', but would with more of them: add cuda_copy, and cuda_ipc for one machine's "
                                          "GPUs, to transport.tls or UCX_TLS");
  return fail(Errc::unsupported, what + " here: take a UCX that was configured --with-cuda (some distributions have its part for it in a package of "
                                        "its own, ucx-cuda), and check that the driver is there (nvidia-smi); or move bytes through host memory "
                                        "(DevicePath::staged)");
}

}  // namespace ucx

bool ucx_knows_cuda(const std::string& tls) {
  ucx::quieten();
  ucp_config_t* raw = nullptr;
  if (ucp_config_read(nullptr, nullptr, &raw) != UCS_OK) return false;
  const ucx::Config config(raw);
  if (!tls.empty() && ucp_config_modify(config.get(), "TLS", tls.c_str()) != UCS_OK) return false;
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM;
  ucp_context_h handle = nullptr;
  if (ucp_init(&params, config.get(), &handle) != UCS_OK) return false;
  return ucx::knows_cuda(ucx::Context(handle).get());
}

}  // namespace gossamer
