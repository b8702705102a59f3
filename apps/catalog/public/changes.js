const TRY_AGAIN_MS = 1_000;

/**
 * Follows the catalogue's changes for as long as the page is open. Nothing is remembered for a page that is away, so
 * after each connection `onConnect` must load what is there now.
 */
export function followChanges({ onState, onConnect, onReload, onChanges }) {
  const source = new EventSource('api/changes');
  let isOver = false;
  const startAgain = () => {
    // More than one load of a connection may fail.
    if (isOver) return;
    isOver = true;
    source.close();
    onState('reconnecting');
    setTimeout(() => followChanges({ onState, onConnect, onReload, onChanges }), TRY_AGAIN_MS);
  };
  const loadOrStartAgain = (load) => load().catch(startAgain);

  source.addEventListener('open', async () => {
    await loadOrStartAgain(onConnect);
    if (source.readyState === EventSource.OPEN) onState('live');
  });
  source.addEventListener('changes', ({ data }) => onChanges(JSON.parse(data)));
  source.addEventListener('reload', () => loadOrStartAgain(onReload));
  source.addEventListener('error', () => {
    // The browser tries again by itself after a broken connection, and gives up after an answer that is none.
    if (source.readyState === EventSource.CLOSED) startAgain();
    else onState('reconnecting');
  });
}
