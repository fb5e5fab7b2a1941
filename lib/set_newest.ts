/** Maps of bounded size that forget what is oldest. */

/** Sets an entry as the newest; if the map has `max` other entries, the oldest goes. */
export function setNewest<Key, Value>(
  map: Map<Key, Value>,
  key: Key,
  value: Value,
  max: number,
): void {
  map.delete(key);
  if (map.size >= max) map.delete(map.keys().next().value!);
  map.set(key, value);
}
