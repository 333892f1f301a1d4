//! What charts are drawn on: lines, areas and text as pixels, and those as a PNG.
//!
//! Invariants: whatever is outside of the picture is cut off. Text has only the letters of the built-in font, and is
//! not long.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke,
    StrokeDash, Transform,
};

use super::chart::{HEIGHT, WIDTH};

#[derive(Clone, Copy)]
pub(super) enum Size {
    Small,
    Large,
}

#[derive(Clone, Copy)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

impl Size {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Size::Small => (FontWeight::Regular, RasterHeight::Size24),
            Size::Large => (FontWeight::Bold, RasterHeight::Size32),
        }
    }
}

pub(super) fn text_width(text: &str, size: Size) -> f32 {
    let (weight, height) = size.font();
    (text.chars().count() * get_raster_width(weight, height)) as f32
}

pub(super) struct Canvas(Pixmap);

impl Canvas {
    pub fn new() -> Option<Self> {
        let mut pixmap = Pixmap::new(WIDTH, HEIGHT)?;
        pixmap.fill(Color::WHITE);
        Some(Self(pixmap))
    }

    pub fn stroke(&mut self, points: &[(f32, f32)], ink: [u8; 3], width: f32, dash: Option<[f32; 2]>) {
        let mut path = PathBuilder::new();
        for (at, (x, y)) in points.iter().enumerate() {
            match at {
                0 => path.move_to(*x, *y),
                _ => path.line_to(*x, *y),
            }
        }
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            dash: dash.and_then(|dash| StrokeDash::new(dash.to_vec(), 0.0)),
            ..Stroke::default()
        };
        if let Some(path) = path.finish() {
            let identity = Transform::identity();
            self.0
                .stroke_path(&path, &paint(ink, 255), &stroke, identity, None);
        }
    }

    pub fn fill(&mut self, (left, top, right, bottom): (f32, f32, f32, f32), ink: [u8; 3], alpha: u8) {
        if let Some(area) = Rect::from_ltrb(left, top, right, bottom) {
            let identity = Transform::identity();
            self.0.fill_rect(area, &paint(ink, alpha), identity, None);
        }
    }

    pub fn dot(&mut self, (x, y): (f32, f32), radius: f32, ink: [u8; 3]) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            let identity = Transform::identity();
            self.0
                .fill_path(&path, &paint(ink, 255), FillRule::Winding, identity, None);
        }
    }

    /// With a ground of its own, so that it can be read over the curve.
    pub fn label(&mut self, text: &str, at: (f32, f32), size: Size, ink: [u8; 3], align: (Align, Align)) {
        let text = printable(text);
        let (x, y) = place(&text, at, size, align);
        let height = size.font().1.val() as f32;
        let right = x + text_width(&text, size);
        self.fill((x - 4.0, y, right + 4.0, y + height), [255, 255, 255], 200);
        self.text(&text, (x, y), size, ink, (Align::Start, Align::Start));
    }

    pub fn text(&mut self, text: &str, at: (f32, f32), size: Size, ink: [u8; 3], align: (Align, Align)) {
        let text = printable(text);
        let (x, y) = place(&text, at, size, align);
        let (weight, height) = size.font();
        let mut left = x.max(0.0) as usize;
        for glyph in text.chars().filter_map(|c| get_raster(c, weight, height)) {
            for (row, pixels) in glyph.rows().enumerate() {
                for (column, coverage) in pixels.iter().enumerate() {
                    self.blend(left + column, y.max(0.0) as usize + row, ink, *coverage);
                }
            }
            left += glyph.width();
        }
    }

    fn blend(&mut self, x: usize, y: usize, ink: [u8; 3], coverage: u8) {
        if coverage == 0 || x >= WIDTH as usize || y >= HEIGHT as usize {
            return;
        }
        let pixel = &mut self.0.pixels_mut()[y * WIDTH as usize + x];
        let mix = |below: u8, ink: u8| {
            let (below, ink, part) = (u32::from(below), u32::from(ink), u32::from(coverage));
            ((below * (255 - part) + ink * part) / 255) as u8
        };
        let [red, green, blue] = ink;
        let mixed = PremultipliedColorU8::from_rgba(
            mix(pixel.red(), red),
            mix(pixel.green(), green),
            mix(pixel.blue(), blue),
            255,
        );
        *pixel = mixed.unwrap_or(*pixel);
    }

    pub fn into_png(self) -> Option<Vec<u8>> {
        let rgb: Vec<u8> = self
            .0
            .pixels()
            .iter()
            .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
            .collect();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let mut writer = encoder.write_header().ok()?;
        writer.write_image_data(&rgb).ok()?;
        writer.finish().ok()?;
        Some(bytes)
    }
}

fn paint(ink: [u8; 3], alpha: u8) -> Paint<'static> {
    let [red, green, blue] = ink;
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, alpha);
    paint.anti_alias = true;
    paint
}

/// Where the upper left corner of a text is.
fn place(text: &str, (x, y): (f32, f32), size: Size, (across, down): (Align, Align)) -> (f32, f32) {
    let shift = |align: Align, length: f32| match align {
        Align::Start => 0.0,
        Align::Middle => length / 2.0,
        Align::End => length,
    };
    let height = size.font().1.val() as f32;
    (x - shift(across, text_width(text, size)), y - shift(down, height))
}

/// What the font has of it, and no more than has room.
pub(super) fn printable(text: &str) -> String {
    let (weight, height) = Size::Small.font();
    let known = |c: char| match c {
        '−' => Some('-'),
        '…' => Some('.'),
        c => get_raster(c, weight, height).map(|_| c),
    };
    text.chars()
        .filter_map(known)
        .take(40)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_the_font_has() {
        assert_eq!(printable("21.5 °C"), "21.5 °C");
        assert_eq!(printable("5 µm 漢字"), "5 µm");
        assert_eq!(printable(&"x".repeat(999)).len(), 40);
    }
}
