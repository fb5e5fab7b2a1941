/** Port numbers for programs that cannot be asked which port they got. */

/**
 * Two different loopback TCP ports that were free a moment ago. Another program may take one before
 * the one it is meant for does; that one then fails to start and says so.
 */
export function twoFreePorts(): [number, number] {
  using first = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using second = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return [first.addr.port, second.addr.port];
}
