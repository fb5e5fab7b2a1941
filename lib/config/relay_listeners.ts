/** The addresses that a relay listens on. */
import type { ListenAddress } from "./options/address.ts";

/** The options that have them. */
export interface ListenerValues {
  readonly addr: ListenAddress;
  readonly internalAddr: ListenAddress;
  readonly healthAddr?: ListenAddress | undefined;
  readonly webAddr?: ListenAddress | undefined;
  readonly adminAddr?: ListenAddress | undefined;
}

/** The relay's own listeners, by option. */
export function listenersOf(
  { addr, internalAddr, healthAddr, webAddr, adminAddr }: ListenerValues,
): readonly (readonly [option: string, address: ListenAddress])[] {
  const listeners: readonly (readonly [string, ListenAddress | undefined])[] = [
    ["--addr", addr],
    ["--internal-addr", internalAddr],
    ["--health-addr", healthAddr],
    ["--web-addr", webAddr],
    ["--admin-addr", adminAddr],
  ];
  return listeners.flatMap(([option, address]) => address ? [[option, address] as const] : []);
}
