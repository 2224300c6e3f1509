"use strict";
// Sorts a table by the column whose head is pressed. The page reads well without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const isNumber = head.classList.contains("number");
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const falls = before ? before === "ascending" : isNumber; // numbers: the largest first
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.key;
      const text = (row) => row.cells[column].textContent;
      const rows = [...body.rows];
      rows.sort((a, b) => {
        const [x, y] = isNumber ? [key(a), key(b)] : [text(a), text(b)];
        if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1); // empty cells stay last
        const order = isNumber ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return falls ? -order : order;
      });
      body.append(...rows);
    });
  });
}
