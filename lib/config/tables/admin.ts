/** The relay's options for its admin API. */
import { fileOrJson, listenAddress, path } from "../options/kinds.ts";
import type { OptionTable } from "../options/option_table.ts";
import { hostNames } from "./callers.ts";

/** The options for the admin API, together in the help text. */
export const adminTable = {
  adminAddr: {
    name: "admin-addr",
    env: "ADMIN_ADDR",
    group: "Admin API",
    kind: listenAddress,
    description: "Listen address of the admin API and the status page; off unless given. Without " +
      "`--tls-cert` it must be on loopback, or behind `--trusted-proxies`; needs `--admin-tokens`",
    see: "admin.md",
  },
  adminTokens: {
    name: "admin-tokens",
    env: "ADMIN_TOKENS",
    group: "Admin API",
    kind: fileOrJson,
    isSecret: true,
    description:
      "Who may use the admin API, and for what, as the path of a JSON file or as JSON: an " +
      'array of `{"name", "token" or "tokenSha256", "clusters", "hostnames"}`; the file is read again ' +
      "when it changes",
    see: "admin.md#tokens",
  },
  adminHosts: {
    name: "admin-hosts",
    env: "ADMIN_HOSTS",
    group: "Admin API",
    kind: hostNames,
    description: "Names by which the admin API may be addressed, separated by commas, besides IP " +
      "addresses and `localhost`; requests for other names get 421; `*` is any",
    see: "admin.md#tokens",
  },
  state: {
    name: "state",
    env: "STATE",
    group: "Admin API",
    kind: path,
    placeholder: "DIR",
    description:
      "Folder in which the relay keeps what is added through the admin API; created if missing. With `--directory`, Redis keeps it instead",
    see: "admin.md#state",
  },
} as const satisfies OptionTable;
