/**
 * The network that an address stands for where addresses are counted: an IPv6 host has one of /64 to
 * itself (RFC 4291 section 2.5.4), so all of it is one address.
 */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [left = [], right] = address.split("::").map((part) => part.split(":").filter(Boolean));
  const zeros = right === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right ?? []];
  return groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16)).join(":");
}
