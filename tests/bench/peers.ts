/** The peers that culvert is compared with, each when it is on the PATH. */
import { chisel } from "./chisel_route.ts";
import { frp } from "./frp_route.ts";
import { haproxy } from "./haproxy_route.ts";
import type { Peer } from "./peer_route.ts";
import { rathole } from "./rathole_route.ts";

/** All of them, in the order of the table's columns. */
export const peers: readonly Peer[] = [rathole, haproxy, chisel, frp];
